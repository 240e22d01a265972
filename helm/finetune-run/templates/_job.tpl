{{/* The Job's spec; `.config`: the ConfigMap's name. */}}
{{- define "finetune-run.jobSpec" -}}
{{- include "finetune-run.checkNames" . -}}
{{- include "finetune-run.checkVariables" . -}}
{{- include "finetune-run.checkUnused" . -}}
{{- include "finetune-run.checkClaims" . -}}
{{- $base := .Files.Get "files/job.yaml" | fromYaml -}}
{{- $sweep := len .Values.sweep -}}
{{ merge (dict) $base.job (ternary $base.sweep $base.single (gt $sweep 0)) | toYaml }}
{{- if $sweep }}
completions: {{ $sweep }}
parallelism: {{ min .Values.parallel $sweep }}
{{- end }}
activeDeadlineSeconds: {{ .Values.deadlineSeconds | int64 | default (mul $base.deadlineSeconds (max 1 $sweep)) }}
{{- if ge (.Values.ttlSeconds | int64) 0 }}
ttlSecondsAfterFinished: {{ .Values.ttlSeconds | int64 }}
{{- end }}
template:
  metadata:
    labels:
      {{- include "finetune-run.labels" . | nindent 6 }}
    annotations:
      {{- $refused := (include "finetune-run.placement" . | fromYaml).refused -}}
      {{- $own := dict -}}
      {{- range $name, $value := $base.podAnnotations }}{{ if not (has $name $refused) }}{{ $_ := set $own $name $value }}{{ end }}{{ end }}
      {{- merge (dict) .Values.podAnnotations (.Values.annotations | default dict) $own | toYaml | nindent 6 }}
  spec:
    {{- include "finetune-run.pod" . | nindent 4 }}
{{- end -}}

{{/* A Job's template cannot change, so its name ends in a hash of all that is rendered into it: another spec is
another Job, and the same one is the same again after a rollback. */}}
{{- define "finetune-run.jobName" -}}
{{- $text := printf "%s\n%s" (include "finetune-run.data" .) (include "finetune-run.jobSpec" (merge (dict "config" "") .)) -}}
{{- printf "%s-%s" (include "finetune-run.fullname" .) ($text | sha256sum | trunc 8) -}}
{{- end -}}

{{/* What `finetune-run list` shows without reading anything else. */}}
{{- define "finetune-run.about" -}}
{{- $values := .Values -}}
finetune-run/model: {{ include "finetune-run.models" . | quote }}
finetune-run/gpu: {{ (include "finetune-run.list" $values.gpu | fromYaml).list | join "," | quote }}
finetune-run/run: {{ dig "run" "id" "" $values.spec | default .name | quote }}
{{- $claim := include "finetune-run.claim" (dict "root" . "of" "store") -}}
{{- with dig "run" "store" "" $values.spec | default (ternary "/store" "" (ne $claim "")) }}
finetune-run/store: {{ . | quote }}
{{- end }}
{{- with $values.sweep }}
finetune-run/sweep: {{ toJson . | quote }}
{{- end }}
{{- end -}}

{{/* The model of each run, each once. */}}
{{- define "finetune-run.models" -}}
{{- $models := list -}}
{{- range $_, $text := include "finetune-run.data" . | fromYaml }}{{ $models = append $models (dig "model" "id" "" ($text | fromJson)) }}{{ end -}}
{{- uniq $models | join ", " -}}
{{- end -}}

{{/* Refuses runs at a time on a volume that one node at a time can mount (k8s/manifest/claims.py). */}}
{{- define "finetune-run.checkClaims" -}}
{{- $atATime := min .Values.parallel (len .Values.sweep) -}}
{{- range $of := list "store" "cache" -}}
{{- $claim := include "finetune-run.claim" (dict "root" $ "of" $of) -}}
{{- $mode := (get $.Values $of).accessMode -}}
{{- $onOneNode := and (eq $mode "ReadWriteOnce") (hasKey $.Values.nodeSelector "kubernetes.io/hostname") -}}
{{- if and $claim (gt $atATime 1) (ne $mode "ReadWriteMany") (not $onOneNode) -}}
{{- fail (printf "parallel: %d runs at a time cannot mount the claim %s, for which %s.accessMode is %s: a second pod would hold a GPU and wait for the volume. Set parallel to 1, make the claim ReadWriteMany, or keep the runs in s3:// (spec.run.store). If all runs fit on one node, name it in nodeSelector (kubernetes.io/hostname)." $atATime $claim $of $mode) -}}
{{- end -}}
{{- end -}}
{{- end -}}
