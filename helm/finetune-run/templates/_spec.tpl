{{/* The data of the ConfigMap: the spec, or one for each run of a sweep. Only what was set is in it; JSON, since readers
of YAML differ. */}}
{{- define "finetune-run.data" -}}
{{- $spec := .Values.spec -}}
{{- if not (dig "model" "id" "" $spec) }}{{ $_ := required "spec.model.id: which model? E.g. --set spec.model.id=NousResearch/Llama-2-7b-hf" "" }}{{ end -}}
{{- if .Values.sweep -}}
{{- range $number, $changes := .Values.sweep -}}
{{- $one := deepCopy $spec -}}
{{- range $path, $value := $changes -}}
{{- include "finetune-run.set" (dict "spec" $one "path" $path "value" $value) -}}
{{- end -}}
{{- include "finetune-run.apart" (dict "spec" $one "number" $number) }}
spec-{{ $number }}.json: |
  {{- $one | toPrettyJson | nindent 2 }}
{{- end -}}
{{- else -}}
spec.json: |
  {{- $spec | toPrettyJson | nindent 2 }}
{{- end -}}
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
{{- with $run.id }}{{ $_ := set $run "id" (printf "%s-%d" (regexReplaceAll "[.-]+$" (trunc 57 .) "") $.number) }}{{ end -}}
{{- end -}}
