{{/* What is asked for of a card, as files/placement.yaml names it. */}}
{{- define "finetune-run.kind" -}}
{{- if and .Values.shared .Values.mig }}{{ fail "shared and mig: a share and a MIG slice cannot both be asked for; leave one out" }}{{ end -}}
{{- $kind := "whole" -}}
{{- if .Values.mig }}{{ $kind = "mig" }}{{ else if .Values.shared }}{{ $kind = "shared" }}{{ end -}}
{{- $kind }}{{ if and .Values.singleStrategy (ne $kind "whole") }}Single{{ end -}}
{{- end -}}

{{/* Where the pod may go: {gpus, terms, selector, tolerations, resource}, and the annotations that a platform refuses.
The table says for each platform, GPU and kind what a node has to have; each pair of platform and GPU is one
alternative. Of a single one, the labels with one value are the node selector (k8s/placement/placement.py). */}}
{{- define "finetune-run.placement" -}}
{{- $values := .Values -}}
{{- $table := .Files.Get "files/placement.yaml" | fromYaml -}}
{{- $gpus := (include "finetune-run.list" $values.gpu | fromYaml).list -}}
{{- $found := dict "gpus" $gpus "terms" list "selector" dict "tolerations" list "refused" list "resource" "" -}}
{{- if not (has "none" $gpus) -}}
{{- $kind := include "finetune-run.kind" . -}}
{{- range $name := (include "finetune-run.list" $values.platform | fromYaml).list -}}
{{- $platform := get $table.platforms $name -}}
{{- if and $values.spot (not $platform.spot) }}{{ fail (printf "spot: the label of spot nodes is unknown on platform %s; leave spot out, and put a label that only they have into nodeSelector" $name) }}{{ end -}}
{{- $label := include "finetune-run.label" (dict "root" $ "platform" $name) | fromYamlArray -}}
{{- range $gpu := $gpus -}}
{{- $wanted := get (get $platform.gpus $gpu | default dict) $kind -}}
{{- if kindIs "slice" $wanted -}}
{{- $term := concat $label $wanted (ternary $platform.whole list (eq $kind "whole")) (ternary $platform.spot list $values.spot) $platform.driver -}}
{{- $_ := set $found "terms" (append $found.terms (dict "matchExpressions" $term)) -}}
{{- $_ := set $found "resource" (get $platform.resources $kind) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $found "tolerations" (concat $found.tolerations $platform.tolerations (ternary $platform.spotTolerations list $values.spot)) -}}
{{- $_ := set $found "refused" (concat $found.refused (ternary $platform.spotRefuses list $values.spot)) -}}
{{- end -}}
{{- if not $found.terms }}{{ fail (printf "gpu: there is no %s %s on platform %s; see files/placement.yaml" $kind (join ", " $gpus) (toJson $values.platform)) }}{{ end -}}
{{- end -}}
{{- $_ := set $found "terms" (uniq $found.terms) -}}
{{- if eq (len $found.terms) 1 -}}
{{- $rest := list -}}
{{- range $one := (first $found.terms).matchExpressions -}}
{{- if and (eq $one.operator "In") (eq (len $one.values) 1) }}{{ $_ := set $found.selector $one.key (first $one.values) }}{{ else }}{{ $rest = append $rest $one }}{{ end -}}
{{- end -}}
{{- $_ := set $found "terms" (ternary (list (dict "matchExpressions" $rest)) list (gt (len $rest) 0)) -}}
{{- end -}}
{{- $_ := set $found "tolerations" (concat $found.tolerations $values.tolerations | uniq) -}}
{{- toYaml $found | replace "PROFILE" $values.mig -}}
{{- end -}}

{{/* The label that the user names, as a requirement; only with platform custom. */}}
{{- define "finetune-run.label" -}}
{{- $given := .root.Values.gpuLabel -}}
{{- if and $given (ne .platform "custom") }}{{ fail "gpuLabel: it counts only with platform: custom" }}{{ end -}}
{{- if and (not $given) (eq .platform "custom") }}{{ fail "gpuLabel: platform custom needs the label that tells the GPUs apart, as key=value" }}{{ end -}}
{{- if $given -}}
{{- $parts := splitn "=" 2 $given -}}
- {key: {{ $parts._0 | quote }}, operator: In, values: {{ splitList "," $parts._1 | toJson }}}
{{- end -}}
{{- end -}}
