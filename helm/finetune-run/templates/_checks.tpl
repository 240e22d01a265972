{{/* Refuses what the pod's variables must not be: those of the Job itself, one given twice, and secrets
(k8s/manifest/settings.py). No message repeats a value. */}}
{{- define "finetune-run.checkVariables" -}}
{{- $refused := (.Files.Get "files/job.yaml" | fromYaml).refused -}}
{{- $values := .Values -}}
{{- range $name := concat (keys $values.env) (keys $values.secretEnv) | sortAlpha -}}
{{- if has $name $refused.env }}{{ fail (printf "env: %s is set by the Job itself" $name) }}{{ end -}}
{{- if and (hasKey $values.env $name) (hasKey $values.secretEnv $name) }}{{ fail (printf "env: %s is in secretEnv too; leave one of the two out" $name) }}{{ end -}}
{{- end -}}
{{- range $name, $value := $values.env -}}
{{- $named := and (regexMatch (printf "(?i)%s" $refused.names) $name) (not (regexMatch (printf "(?i)%s" $refused.notNames) $name)) -}}
{{- if and $named (ge (len (trim $value)) 8) }}{{ fail (printf "env: %s looks like a secret; put it into a Secret, and name that in existingSecret or secretEnv" $name) }}{{ end -}}
{{- end -}}
{{- range $name, $value := omit $values "inputs" -}}
{{- if regexMatch $refused.shapes (toJson $value) }}{{ fail (printf "%s: a value is a secret; put it into a Secret, and name that in existingSecret, secretEnv or secretFiles" $name) }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Refuses values that nothing would read, for want of another one. */}}
{{- define "finetune-run.checkUnused" -}}
{{- $values := .Values -}}
{{- $unused := list -}}
{{- if and (ne ($values.parallel | int64) 1) (not $values.sweep) }}{{ $unused = append $unused "parallel is for a sweep" }}{{ end -}}
{{- if and $values.scratch.storageClass (not $values.scratch.size) }}{{ $unused = append $unused "scratch.storageClass needs scratch.size" }}{{ end -}}
{{- range $of := list "store" "cache" -}}
{{- $claim := get $values $of -}}
{{- if and $claim.existingClaim $claim.size }}{{ $unused = append $unused (printf "%s.size makes a claim, and %s.existingClaim names one" $of $of) }}{{ end -}}
{{- if and $claim.storageClass (not $claim.size) }}{{ $unused = append $unused (printf "%s.storageClass needs %s.size" $of $of) }}{{ end -}}
{{- if and (ne $claim.accessMode "ReadWriteOnce") (not (or $claim.size $claim.existingClaim)) }}{{ $unused = append $unused (printf "%s.accessMode needs %s.size or %s.existingClaim" $of $of $of) }}{{ end -}}
{{- end -}}
{{- if and $values.serviceAccount.annotations (not $values.serviceAccount.create) }}{{ $unused = append $unused "serviceAccount.annotations are for an account that the chart makes (serviceAccount.create); annotate an existing one yourself" }}{{ end -}}
{{- if and (or $values.networkPolicy.egress (not $values.networkPolicy.metadata)) (not $values.networkPolicy.enabled) }}{{ $unused = append $unused "networkPolicy.egress and metadata need networkPolicy.enabled" }}{{ end -}}
{{- if and (ne $values.ca.key "ca.crt") (not $values.ca.configMap) }}{{ $unused = append $unused "ca.key needs ca.configMap" }}{{ end -}}
{{- $gpus := (include "finetune-run.list" $values.gpu | fromYaml).list -}}
{{- if has "none" $gpus -}}
{{- if gt (len $gpus) 1 }}{{ $unused = append $unused "gpu: none is the CPU; leave it or the cards out" }}{{ end -}}
{{- range $name := list "spot" "shared" "mig" "gpuLabel" -}}
{{- if get $values $name }}{{ $unused = append $unused (printf "%s is for a GPU, and gpu is none" $name) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and $values.singleStrategy (not (or $values.shared $values.mig)) }}{{ $unused = append $unused "singleStrategy is for shared or mig" }}{{ end -}}
{{- if $unused }}{{ fail (printf "nothing would read these values: %s" (join "; " $unused)) }}{{ end -}}
{{- end -}}
