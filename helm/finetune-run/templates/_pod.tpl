{{/* The pod's spec. `.config`: the ConfigMap's name. What does not depend on values comes from files/job.yaml. */}}
{{- define "finetune-run.pod" -}}
{{- $base := .Files.Get "files/job.yaml" | fromYaml -}}
{{- $placement := include "finetune-run.placement" . | fromYaml -}}
{{ omit $base.pod "securityContext" "nodeSelector" | toYaml }}
terminationGracePeriodSeconds: {{ .Values.graceSeconds }}
securityContext:
  {{- toYaml $base.pod.securityContext | nindent 2 }}
  {{- with .Values.user | int64 }}
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  {{- end }}
{{- with $placement.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "finetune-run.affinity" (dict "terms" $placement.terms "wanted" .Values.affinity) }}
affinity:
  {{- . | nindent 2 }}
{{- end }}
nodeSelector:
  {{- include "finetune-run.nodeSelector" (dict "needed" (merge (dict) $base.pod.nodeSelector $placement.selector) "given" .Values.nodeSelector) | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with include "finetune-run.serviceAccount" . }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- with .Values.priorityClassName | default .Values.priorityClass }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.runtimeClassName | default .Values.runtimeClass }}
runtimeClassName: {{ . | quote }}
{{- end }}
containers:
  - {{ include "finetune-run.container" (dict "root" . "base" $base "resource" $placement.resource) | nindent 4 | trim }}
volumes:
  {{- include "finetune-run.volumes" . | nindent 2 }}
{{- end -}}

{{/* The labels that the node must have, beside those that the user adds. */}}
{{- define "finetune-run.nodeSelector" -}}
{{- $given := .given -}}
{{- range $key, $value := .needed -}}
{{- if and (hasKey $given $key) (ne (get $given $key) $value) }}{{ fail (printf "nodeSelector: %s is %s, but the Job needs %s" $key (get $given $key) $value) }}{{ end -}}
{{- end -}}
{{- toYaml (merge (dict) .needed $given) -}}
{{- end -}}

{{/* The nodes that the placement demands, beside what the user prefers. */}}
{{- define "finetune-run.affinity" -}}
{{- $nodes := .wanted.nodeAffinity | default dict -}}
{{- if hasKey $nodes "requiredDuringSchedulingIgnoredDuringExecution" }}{{ fail "affinity: nodes are demanded with nodeSelector; affinity to nodes can only be preferred" }}{{ end -}}
{{- $found := deepCopy .wanted -}}
{{- if .terms -}}
{{- $demanded := dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" .terms) -}}
{{- $_ := set $found "nodeAffinity" (merge (deepCopy $nodes) $demanded) -}}
{{- end -}}
{{- if $found }}{{ toYaml $found }}{{ end -}}
{{- end -}}

{{- define "finetune-run.container" -}}
{{- $values := .root.Values -}}
{{ omit .base.container "volumeMounts" | toYaml }}
image: {{ include "finetune-run.image" .root | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
resources:
  requests:
    cpu: {{ $values.resources.cpu | toString | quote }}
    {{- include "finetune-run.limits" . | nindent 4 }}
  limits:
    {{- with $values.resources.cpuLimit }}
    cpu: {{ . | toString | quote }}
    {{- end }}
    {{- include "finetune-run.limits" . | nindent 4 }}
env:
  {{- include "finetune-run.env" . | nindent 2 }}
{{- with (include "finetune-run.list" $values.existingSecret | fromYaml).list }}
envFrom:
  {{- range . }}
  - secretRef: {name: {{ . | quote }}}
  {{- end }}
{{- end }}
volumeMounts:
  {{- toYaml .base.container.volumeMounts | nindent 2 }}
  {{- if include "finetune-run.claim" (dict "root" .root "of" "store") }}
  - {name: store, mountPath: /store}
  {{- end }}
  {{- if $values.ca.configMap }}
  - {name: ca, mountPath: /etc/finetune-run-ca, readOnly: true}
  {{- end }}
  {{- range $number, $name := keys $values.secretFiles | sortAlpha }}
  - {name: secret-{{ $number }}, mountPath: {{ get $values.secretFiles $name | quote }}, readOnly: true}
  {{- end }}
  {{- with $values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* For all that ends or evicts a pod when it runs out. */}}
{{- define "finetune-run.limits" -}}
{{- with .root.Values.resources -}}
memory: {{ .memory | quote }}
ephemeral-storage: {{ .disk | quote }}
{{- end }}
{{- with .resource }}
{{ . }}: "1"
{{- end -}}
{{- end -}}

{{/* The base's first, since names in $(…) have to stand before their use. The user's win where both set one. */}}
{{- define "finetune-run.env" -}}
{{- $values := .root.Values -}}
{{- $all := concat .base.env (ternary .base.sweepEnv .base.singleEnv (not (empty $values.sweep))) -}}
{{- $all = append $all (dict "name" "FINETUNE_DISK_FOLDERS" "value" (include "finetune-run.onNodeDisk" .root)) -}}
{{- if and .resource (include "finetune-run.trains" .root) }}{{ $all = concat $all .base.gpuEnv }}{{ end -}}
{{- if and (include "finetune-run.claim" (dict "root" .root "of" "store")) (not (dig "run" "store" "" $values.spec)) -}}
{{- $all = concat $all .base.storeEnv -}}
{{- end -}}
{{- if $values.inputs }}{{ $all = concat $all .base.inputsEnv }}{{ end -}}
{{- if $values.ca.configMap }}{{ $all = concat $all .base.caEnv }}{{ end -}}
{{- $given := dict -}}
{{- range $name, $value := dict "https" $values.proxy.https "http" $values.proxy.http "no" $values.proxy.exclude -}}
{{- range $case := list (printf "%s_proxy" $name) (printf "%s_PROXY" (upper $name)) -}}
{{- if $value }}{{ $_ := set $given $case $value }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $values.env }}{{ $_ := set $given $name $value }}{{ end -}}
{{- $secret := dict -}}
{{- range $name, $key := $values.secretEnv -}}
{{- $_ := set $secret $name (dict "name" $name "valueFrom" (dict "secretKeyRef" (dict "name" $key.name "key" $key.key))) -}}
{{- end -}}
{{- $rest := list -}}
{{- range $one := $all -}}
{{- if hasKey $secret $one.name }}{{ $rest = append $rest (get $secret $one.name) }}{{ else if hasKey $given $one.name }}{{ $rest = append $rest (dict "name" $one.name "value" (get $given $one.name)) }}{{ else }}{{ $rest = append $rest $one }}{{ end -}}
{{- $given = omit $given $one.name -}}
{{- $secret = omit $secret $one.name -}}
{{- end -}}
{{- range $name := keys $given | sortAlpha -}}
{{- $rest = append $rest (get $secret $name | default (dict "name" $name "value" (get $given $name))) -}}
{{- $secret = omit $secret $name -}}
{{- end -}}
{{- range $name := keys $secret | sortAlpha }}{{ $rest = append $rest (get $secret $name) }}{{ end -}}
{{- toYaml $rest -}}
{{- end -}}

{{/* The folders that the limit of ephemeral-storage counts. */}}
{{- define "finetune-run.onNodeDisk" -}}
{{- $folders := list -}}
{{- if not .Values.scratch.size }}{{ $folders = append $folders "/work" }}{{ end -}}
{{- if not (include "finetune-run.claim" (dict "root" . "of" "cache")) }}{{ $folders = append $folders "/cache" }}{{ end -}}
{{- $folders = append $folders "/tmp" -}}
{{- $theirs := list -}}
{{- range .Values.volumes -}}
{{- if and (kindIs "map" .emptyDir) (not (dig "emptyDir" "medium" "" .)) }}{{ $theirs = append $theirs .name }}{{ end -}}
{{- end -}}
{{- range .Values.volumeMounts }}{{ if has .name $theirs }}{{ $folders = append $folders .mountPath }}{{ end }}{{ end -}}
{{- join ":" $folders -}}
{{- end -}}

{{/* Not empty if a run trains: `training: null` only quantizes, unless a sweep sets something of it. */}}
{{- define "finetune-run.trains" -}}
{{- if or (not (hasKey .Values.spec "training")) (not (kindIs "invalid" .Values.spec.training)) }}true{{ end -}}
{{- range $changes := .Values.sweep -}}
{{- range $path, $_ := $changes }}{{ if hasPrefix "training." $path }}true{{ end }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* The node's disk is bounded by one sum: each emptyDir may take all of it, and the container's limit counts them
together. */}}
{{- define "finetune-run.volumes" -}}
{{- $values := .Values -}}
{{- $nodeDisk := printf "emptyDir: {sizeLimit: %s}" ($values.resources.disk | quote) -}}
- name: spec
  configMap: {name: {{ .config | quote }}}
# Each emptyDir on the node's disk has the limit of all of them: the kubelet counts them together, as the container's
# ephemeral-storage, so the pod can never use more than that one limit.
- name: work
  {{- with $values.scratch }}
  {{- if .size }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: {{ .size | quote }}}}
        {{- with .storageClass }}
        storageClassName: {{ . | quote }}
        {{- end }}
  {{- else }}
  {{ $nodeDisk }}
  {{- end }}
  {{- end }}
- name: cache
  {{- with include "finetune-run.claim" (dict "root" . "of" "cache") }}
  persistentVolumeClaim: {claimName: {{ . | quote }}}
  {{- else }}
  {{ $nodeDisk }}
  {{- end }}
- name: tmp
  {{ $nodeDisk }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ $values.resources.shm | quote }}}
{{- with include "finetune-run.claim" (dict "root" . "of" "store") }}
- name: store
  persistentVolumeClaim: {claimName: {{ . | quote }}}
{{- end }}
{{- with $values.ca }}
{{- if .configMap }}
- name: ca
  configMap: {name: {{ .configMap | quote }}, items: [{key: {{ .key | quote }}, path: ca.crt}]}
{{- end }}
{{- end }}
{{- range $number, $name := keys $values.secretFiles | sortAlpha }}
- name: secret-{{ $number }}
  secret: {secretName: {{ $name | quote }}}
{{- end }}
{{- with $values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
