{{/* The data of the ConfigMap: the spec, or one for each run of a sweep. Only what was set is in it; JSON, since readers
of YAML differ. */}}
{{- define "finetune-run.data" -}}
{{- $spec := .Values.spec -}}
{{- with regexFindAll "YOUR-[A-Z]+" (toJson (merge (dict "spec" (omit $spec "chat")) (omit .Values "spec"))) -1 -}}
{{- fail (printf "the values contain placeholders of the examples (%s): write your own" (uniq . | join ", ")) -}}
{{- end -}}
{{- if .Values.sweep -}}
{{- range $number, $changes := .Values.sweep -}}
{{- $one := deepCopy $spec -}}
{{- range $path, $value := $changes -}}
{{- if has $path (list "run.id" "run.store") }}{{ fail (printf "sweep: %s is the same for all runs of a sweep; set spec.%s" $path $path) }}{{ end -}}
{{- include "finetune-run.set" (dict "spec" $one "path" $path "value" $value) -}}
{{- end -}}
{{- include "finetune-run.apart" (dict "spec" $one "number" $number) }}
{{- include "finetune-run.checkModel" $one -}}
{{- include "finetune-run.folders" (dict "root" $ "spec" $one) }}
spec-{{ $number }}.json: |
  {{- $one | toPrettyJson | nindent 2 }}
{{- end -}}
{{- else -}}
{{- include "finetune-run.checkModel" $spec -}}
{{- include "finetune-run.folders" (dict "root" . "spec" $spec) -}}
spec.json: |
  {{- $spec | toPrettyJson | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "finetune-run.checkModel" -}}
{{- if not (dig "model" "id" "" .) }}{{ fail "spec.model.id: which model? E.g. --set spec.model.id=NousResearch/Llama-2-7b-hf" }}{{ end -}}
{{- end -}}

{{/* The spec of the run, or of a sweep's first. */}}
{{- define "finetune-run.first" -}}
{{- $data := include "finetune-run.data" . | fromYaml -}}
{{- get $data (ternary "spec-0.json" "spec.json" (gt (len .Values.sweep) 0)) -}}
{{- end -}}

{{/* Sets `value` at a path like training.learning_rate of a spec. */}}
{{- define "finetune-run.set" -}}
{{- $node := .spec -}}
{{- $names := splitList "." .path -}}
{{- range $name := initial $names -}}
{{- if not (kindIs "map" (get $node $name)) }}{{ $_ := set $node $name dict }}{{ end -}}
{{- $node = get $node $name -}}
{{- end -}}
{{- $_ := set $node (last $names) .value -}}
{{- end -}}

{{/* What a whole sweep would publish to one place goes to a place of its own for each run. */}}
{{- define "finetune-run.apart" -}}
{{- $publish := .spec.publish | default dict -}}
{{- range $place := list "s3" "folder" -}}
{{- if get $publish $place }}{{ $_ := set $publish $place (printf "%s/%d" (regexReplaceAll "/+$" (get $publish $place) "") $.number) }}{{ end -}}
{{- end -}}
{{- with $publish.hub }}{{ $_ := set . "repo_id" (regexReplaceAll "^(?i)(.*?)(-gguf)?$" .repo_id (printf "${1}-%d${2}" $.number)) }}{{ end -}}
{{- $run := .spec.run | default dict -}}
{{- with $run.id -}}
{{- if gt (len .) 57 }}{{ fail (printf "spec.run.id: %s has %d characters, and each run of a sweep adds its number; write at most 57" . (len .)) }}{{ end -}}
{{- $_ := set $run "id" (printf "%s-%d" . $.number) -}}
{{- end -}}
{{- end -}}

{{/* Refuses folders of the pod that are lost with it, and a volume for the store that no field of the spec uses
(k8s/manifest/folders.py). */}}
{{- define "finetune-run.folders" -}}
{{- $values := .root.Values -}}
{{- $kept := list -}}
{{- $lost := list -}}
{{- range $values.volumes }}{{ if or (hasKey . "emptyDir") (hasKey . "ephemeral") }}{{ $lost = append $lost .name }}{{ end }}{{ end -}}
{{- range $values.volumeMounts }}{{ if not (has .name $lost) }}{{ $kept = append $kept .mountPath }}{{ end }}{{ end -}}
{{- $store := include "finetune-run.claim" (dict "root" .root "of" "store") -}}
{{- if $store }}{{ $kept = append $kept "/store" }}{{ end -}}
{{- if include "finetune-run.claim" (dict "root" .root "of" "cache") }}{{ $kept = append $kept "/cache" }}{{ end -}}
{{- $named := dict "publish.folder" (get (.spec.publish | default dict) "folder") "run.store" (get (.spec.run | default dict) "store") -}}
{{- range $field, $folder := $named -}}
{{- if and $folder (not (contains "://" $folder)) -}}
{{- $path := ternary $folder (printf "/work/%s" $folder) (isAbs $folder) | clean -}}
{{- $safe := false -}}
{{- range $kept }}{{ if hasPrefix (printf "%s/" .) (printf "%s/" $path) }}{{ $safe = true }}{{ end }}{{ end -}}
{{- if not $safe }}{{ fail (printf "spec.%s: %s is a folder of the pod, which is lost with it. Leave it out, and set store.size: the files are in the run's store then, and `finetune-run results` downloads them. Or write a folder below /store, or an s3:// address." $field $folder) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $address := get $named "run.store" -}}
{{- if and $store $address (not (contains "\"/store" (toJson .spec))) -}}
{{- fail (printf "the volume %s for the run store would stay empty: spec.run.store is %s. Leave one of the two out." $store $address) -}}
{{- end -}}
{{- end -}}
