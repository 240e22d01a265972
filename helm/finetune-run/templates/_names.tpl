{{/* Begins every name: the release's, with the chart's behind it unless it has it already (no longer than 43, since
the Job's name has a hash of 8 behind it, and the pods' host names an index and five letters behind that). */}}
{{- define "finetune-run.fullname" -}}
{{- $name := .Values.fullnameOverride | default .Values.nameOverride -}}
{{- if not $name -}}
{{- $name = ternary .Release.Name (printf "%s-finetune-run" .Release.Name) (contains "finetune-run" .Release.Name) -}}
{{- end -}}
{{- $name | lower | replace "." "-" | trunc 43 | trimSuffix "-" -}}
{{- end -}}

{{/* Values whose old names are accepted until the next release (k8s/chart/values.py). */}}
{{- define "finetune-run.renamed" -}}
annotations: podAnnotations
labels: podLabels
nameOverride: fullnameOverride
priorityClass: priorityClassName
runtimeClass: runtimeClassName
{{- end -}}

{{- define "finetune-run.checkNames" -}}
{{- range $old, $new := include "finetune-run.renamed" . | fromYaml -}}
{{- if and (get $.Values $old) (get $.Values $new) }}{{ fail (printf "%s is the old name of %s: write only %s" $old $new $new) }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "finetune-run.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "finetune-run.fullname" .) "" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* The claim of a volume: one that is there, one that the chart makes, or none. Call with (dict "root" $ "of" "store"). */}}
{{- define "finetune-run.claim" -}}
{{- $claim := get .root.Values .of -}}
{{- $made := ternary (printf "%s-%s" (include "finetune-run.fullname" .root) .of) "" (ne $claim.size "") -}}
{{- $claim.existingClaim | default $made -}}
{{- end -}}

{{/* With its registry: without one, container runtimes ask Docker Hub (k8s/manifest/settings.py). */}}
{{- define "finetune-run.image" -}}
{{- with .Values.image -}}
{{- if not .repository }}{{ fail "image.repository: name the registry and the image that you pushed there (docs/image.md), e.g. --set image.repository=ghcr.io/owner/finetune-run" }}{{ end -}}
{{- if and (ne .pullPolicy "Never") (not (regexMatch "^(localhost|[^/]*[.:][^/]*)/" .repository)) }}{{ fail (printf "image.repository: %s names no registry; write it with one, e.g. ghcr.io/owner/finetune-run or docker.io/owner/finetune-run, or set image.pullPolicy to Never if each node has the image" .repository) }}{{ end -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Of the Job and its pods; the chart's own come on top where they may change without making another Job. */}}
{{- define "finetune-run.labels" -}}
{{- $base := (.Files.Get "files/job.yaml" | fromYaml).labels -}}
{{- $own := dict "app.kubernetes.io/instance" .Release.Name -}}
{{- toYaml (merge (dict) $own $base .Values.podLabels (.Values.labels | default dict)) -}}
{{- end -}}

{{/* The annotation of what outlives an upgrade and an uninstall, if old runs do: a run's Job and what it needs. */}}
{{- define "finetune-run.kept" -}}
{{- if .Values.keepOldRuns }}helm.sh/resource-policy: keep{{ end -}}
{{- end -}}

{{- define "finetune-run.chartLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* A text or a list of texts, as {"list": […]}. */}}
{{- define "finetune-run.list" -}}
{{- if kindIs "string" . -}}
{{- toYaml (dict "list" (ternary (list) (list .) (eq . ""))) -}}
{{- else -}}
{{- toYaml (dict "list" .) -}}
{{- end -}}
{{- end -}}
