"""`launch`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from k8s.cli.asked import check_used, hourly_prices, namespace_setting, show, time_of_all, where, wish_of
from k8s.cli.config import check_limits, in_effect, store_of
from k8s.cli.options import (
    COST,
    Context,
    Dataset,
    Force,
    Gpu,
    Label,
    Mig,
    Model,
    Namespace,
    Platform,
    Price,
    PriceFile,
    Sets,
    Shared,
    Shown,
    SpecFile,
    Spot,
    Sweeps,
    Timeout,
    Tolerations,
)
from k8s.output import Output, result, say

_POD, _SECRETS, _END = "Pod", "Secrets and volumes", "Afterwards"
IfExists = Literal["join", "fail", "new"]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
_HOW = {"created": "submitted", "again": "submitted again; finished work is in the store", "joined": "exists already"}


def _pod(help: str, *names: str, panel: str = _POD, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=more.pop("show_default", False), **more)


def launch(
    gpu: Gpu = None,
    model: Model = None,
    dataset: Dataset = None,
    spec: SpecFile = None,
    sets: Sets = None,
    sweeps: Sweeps = None,
    parallel: Annotated[int, _pod("How many runs of a sweep run at a time.", panel="What")] = 1,
    name: Annotated[str | None, _pod("The run's name; a hash is appended.", panel="What")] = None,
    context: Context = None,
    namespace: Namespace = None,
    platform: Platform = None,
    label: Label = None,
    spot: Spot = None,
    shared: Shared = False,
    mig: Mig = "",
    tolerations: Tolerations = None,
    force: Force = False,
    image: Annotated[
        str | None, _pod("The job's image in your registry, by digest if you can.", envvar="FINETUNE_IMAGE")
    ] = None,
    pull_secrets: Annotated[list[str] | None, _pod("A Secret for pulling the image.", "--pull-secret")] = None,
    pull_policy: Annotated[PullPolicy, _pod("When to pull the image.", show_default=True)] = "IfNotPresent",
    cpu: Annotated[float | None, _pod("CPU cores to request.")] = None,
    cpu_limit: Annotated[float | None, _pod("Limit of CPU cores, if a quota asks for one; default: none.")] = None,
    memory: Annotated[str | None, _pod("Memory, e.g. 14Gi; default: predicted.")] = None,
    disk: Annotated[str | None, _pod("Disk of the node, e.g. 60Gi; default: predicted.")] = None,
    scratch: Annotated[str | None, _pod("Put the work directory on a volume of this size.")] = None,
    scratch_class: Annotated[str | None, _pod("Storage class of the scratch volume.")] = None,
    queue: Annotated[str | None, _pod("LocalQueue of Kueue.")] = None,
    service_account: Annotated[str | None, _pod("Kubernetes service account, e.g. for workload identity.")] = None,
    priority_class: Annotated[str | None, _pod("PriorityClass of the pod.")] = None,
    price: Price = None,
    price_file: PriceFile = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            help="What all runs may cost together; one that has cost its share saves and ends.",
            rich_help_panel=COST,
            show_default=False,
        ),
    ] = None,
    runtime_class: Annotated[str | None, _pod("Runtime class, e.g. nvidia: k3s and RKE2 need it for a GPU.")] = None,
    node_selector: Annotated[list[str] | None, _pod("NAME=value that the node must have.", "--node-selector")] = None,
    affinity: Annotated[Path | None, _pod("A YAML file with affinity to pods or preferred nodes.")] = None,
    user: Annotated[int, _pod("User and group id; 0: set by the platform.", show_default=True)] = 10001,
    grace: Annotated[int, _pod("Seconds to save a checkpoint when the pod is stopped.", show_default=True)] = 120,
    deadline: Annotated[int | None, _pod("Seconds after which the run is ended, even if pending.")] = None,
    ttl: Annotated[int, _pod("Days after which the finished Job is deleted; 0: never.", show_default=True)] = 7,
    labels: Annotated[list[str] | None, _pod("NAME=value", "--label")] = None,
    annotations: Annotated[list[str] | None, _pod("NAME=value", "--annotation")] = None,
    env: Annotated[
        list[str] | None, _pod("NAME=value: a variable of the pod, not a secret.", "--env", panel=_SECRETS)
    ] = None,
    env_secrets: Annotated[
        list[str] | None, _pod("A Secret whose keys become variables.", "--secret", panel=_SECRETS)
    ] = None,
    secret_files: Annotated[
        list[str] | None, _pod("SECRET=/path: mount a Secret as a folder.", "--secret-file", panel=_SECRETS)
    ] = None,
    store_pvc: Annotated[str | None, _pod("PersistentVolumeClaim for the run store.", panel=_SECRETS)] = None,
    cache_pvc: Annotated[str | None, _pod("PersistentVolumeClaim for the model cache.", panel=_SECRETS)] = None,
    https_proxy: Annotated[str | None, _pod("HTTPS proxy URL.", panel=_SECRETS)] = None,
    http_proxy: Annotated[str | None, _pod("HTTP proxy URL.", panel=_SECRETS)] = None,
    no_proxy: Annotated[str | None, _pod("Hosts that bypass the proxy.", panel=_SECRETS)] = None,
    ca: Annotated[str | None, _pod("CONFIGMAP/KEY with all certificates to trust.", panel=_SECRETS)] = None,
    if_exists: Annotated[IfExists, _pod("If the same run exists.", panel=_END, show_default=True)] = "join",
    dry_run: Annotated[bool, _pod("Print the objects, for `kubectl apply -f -`.", "--dry-run", panel=_END)] = False,
    emit: Annotated[Literal["values"] | None, _pod("Print the Helm chart's values for this run.", panel=_END)] = None,
    follow: Annotated[
        bool | None, _pod("Show the log to the end; default on a terminal.", "--follow/--detach", panel=_END)
    ] = None,
    wait: Annotated[bool, _pod("Wait for the end, without the log.", "--wait", panel=_END)] = False,
    timeout: Timeout = None,
    output: Shown = Output.table,
) -> None:
    """Submit a run and follow it.

    Examples, with the image in FINETUNE_IMAGE:

    `finetune-run --gpu t4 --model NousResearch/Llama-2-7b-hf --dataset Abirate/english_quotes`

    `finetune-run --spec my.yaml --gpu t4,l4 --spot --secret my-tokens --store-pvc runs`

    `finetune-run --spec my.yaml --gpu t4 --platform gke --emit values > values.yaml`

    `finetune-run --spec my.yaml --sweep training.learning_rate=1e-4,2e-4 --sweep lora.r=8,16 --parallel 2`
    """
    from k8s.ask import ask, pairs, spec_from
    from k8s.budget import Allowed
    from k8s.cli.inputs import bring, send_inputs
    from k8s.cluster.client import cluster_or_none
    from k8s.cluster.references import check_references
    from k8s.manifest.parse import affinity_of, reference, resources, scratch_of
    from k8s.prepare import prepare

    following = sys.stdout.isatty() and output is Output.table if follow is None else follow
    check_used({
        "--parallel is for a sweep: add --sweep": parallel != 1 and not sweeps,
        "--scratch-class is for a volume: add --scratch SIZE": scratch_class and not scratch,
        "--wait is without the log, and --follow shows it: leave one of them out": wait and follow,
        "--timeout is for waiting: add --wait or --follow": timeout is not None and not (wait or following),
        "--output is for a run that is not waited for, and not for --dry-run and --emit, which print YAML":
            output is not Output.table and (wait or follow or dry_run or emit),
    })  # fmt: skip
    known = in_effect(context, namespace)
    gpu, platform, spot, queue = where(known, gpu, platform, spot, queue)
    read, store_pvc = store_of(known, spec_from(spec, model, dataset, sets or []), store_pvc, sweeps or [])
    asked = ask(
        wish_of(gpu, platform, label, spot, shared, mig, tolerations or [], force),
        read,
        sweeps=sweeps or [],
        bring=bring,
        resources=resources(cpu, memory, disk, cpu_limit),
        rehearses=True,
        budget=Allowed(hourly_prices(price, price_file, known), known.max_cost(max_cost)),
        **namespace_setting(namespace),
        image=known.get("image", image),
        pull_policy=pull_policy,
        pull_secrets=known.listed("pull_secrets", pull_secrets),
        scratch=scratch_of(scratch, scratch_class),
        queue=queue,
        suspend=queue is not None,
        parallel=parallel,
        service_account=known.get("service_account", service_account),
        priority_class=priority_class,
        runtime_class=runtime_class,
        node_selector=pairs(node_selector or [], "--node-selector"),
        affinity=affinity_of(affinity),
        user=user or None,
        grace_s=grace,
        **({} if deadline is None else {"deadline_s": deadline}),
        ttl_s=ttl * 86400 if ttl else None,
        labels=known.labels(pairs(labels or [], "--label")),
        annotations=pairs(annotations or [], "--annotation"),
        env=pairs(env or [], "--env"),
        env_secrets=known.listed("secrets", env_secrets),
        secret_files=pairs(secret_files or [], "--secret-file"),
        store_pvc=store_pvc,
        cache_pvc=cache_pvc,
        https_proxy=https_proxy,
        http_proxy=http_proxy,
        no_proxy=no_proxy,
        ca=reference(ca, "--ca"),
    )
    cluster = cluster_or_none(context, namespace, needed=not ((dry_run or emit) and (platform or gpu == "none")))
    prepared = prepare(cluster, asked, title=name, salt=os.urandom(8).hex() if if_exists == "new" else "")
    check_limits(known, prepared)
    if dry_run or emit:
        if not dry_run:
            send_inputs(cluster, prepared)
        _print_only(prepared, as_values=emit is not None, dry_run=dry_run)
        return
    from k8s.cluster.submit import existing, submit, try_pod
    from k8s.cuda_image import check_cuda

    assert cluster
    show(prepared)
    check_references(cluster, prepared.settings)
    for note in [*check_cuda(prepared.settings), *try_pod(cluster, prepared.manifest)]:
        say(f"note: {note}", style="warn")
    found = existing(cluster, prepared.settings.name)
    if found is None or found.state == "failed":
        send_inputs(cluster, prepared)
    sent = submit(cluster, prepared.manifest, if_exists)
    say(f"{_HOW[sent.how]}: {sent.run.name} in namespace {cluster.namespace}", style="good")
    if sent.note:
        say(f"note: {sent.note}; --if-exists new starts a second run", style="warn")
    if wait or following:
        from k8s.cli.manage import to_its_end

        to_its_end(cluster, sent.run.name, logs=following and not wait, timeout_s=timeout)
    elif output is Output.table:
        say(f"`finetune-run logs -f {sent.run.name}` follows it", style="dim")
    else:
        result(sent.run.model_dump(mode="json"), output, (), ())


def _print_only(prepared: Any, *, as_values: bool, dry_run: bool) -> None:
    """Prints the objects, or the chart's values for them."""
    from k8s.cli.inputs import tell_inputs
    from k8s.yaml_text import text_of

    for note in prepared.notes:
        say(f"note: {note}", style="warn")
    say(time_of_all(prepared), style="dim")
    if dry_run:
        tell_inputs(prepared.along, "would be uploaded")
    if as_values:
        from k8s.chart.emit import values_of

        text = text_of([values_of(prepared.settings, prepared.spec, prepared.sweep)])
    else:
        from k8s.manifest.render import comment_on

        text = text_of(prepared.manifest, comment_on(prepared.manifest))
    typer.echo(text, nl=False)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(launch)
