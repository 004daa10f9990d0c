"""The tables of flags: what the reference takes, and what is ours. Parsing, help and completion are all made from them."""

from __future__ import annotations

from typing import Final

from copilot.cli.arguments.pflag import Flag, Table

FORMATS: Final = ("JSON", "YAML", "PROTO")
LAYOUTS: Final = ("DIRECT", "NAMED_DIR")
DOWNLOAD_MODES: Final = ("DOWNLOAD_EAGER", "DOWNLOAD_STREAM", "DO_NOT_DOWNLOAD")
UPLOAD_MODES: Final = ("UPLOAD_ON_EXIT", "UPLOAD_EAGER", "DO_NOT_UPLOAD")

#: Where the stores are and how the program tells of itself: on every command, before or after its name.
OURS: Final = (
    Flag(
        "config", "Flyte storage configuration: a file, a directory or a glob; files are merged in name order.", metavar="GLOB"
    ),
    Flag("endpoint", "The S3 server, as a URL; gs=URL and az=URL for the other clouds.", metavar="URL", repeats=True),
    Flag("region", "The S3 region.", metavar="NAME"),
    Flag("profile", "The section of the AWS shared files to use.", metavar="NAME"),
    Flag("anonymous", "Sign no request: for public buckets."),
    Flag("engine", "What carries s3, gs and az.", metavar="NAME", default="obstore", choices=("obstore", "fsspec")),
    Flag("max-workers", "Most objects in flight.", metavar="N"),
    Flag("memory", "Memory for bytes in flight, like 64MiB.", metavar="SIZE"),
    Flag("control-dir", "Where ARMED, READY and progress are kept.", metavar="DIR"),
    Flag("termination-log", "Where the one-sentence reason of a failure goes.", metavar="PATH", default="/dev/termination-log"),
    Flag("failure-exit-code", "End every failure with this exit code.", metavar="N"),
    Flag("quiet", "Tell errors only.", short="q"),
    Flag("verbose", "Tell everything.", short="v"),
    Flag("log-level", "The least level told.", metavar="LEVEL", choices=("debug", "info", "warning", "error", "none")),
    Flag("log-format", "How events are told; auto: JSON in pods.", metavar="FORMAT", choices=("auto", "json", "text")),
    Flag("log-file", "A file that gets every event, at debug level, as JSON.", metavar="PATH"),
    Flag("drop-in", "Behave as flyte-copilot does: its exit codes and its error documents."),
)

#: The reference's own global flags that mean something here.
REFERENCE: Final = (
    Flag("err-output-name", "The error document's name; without it, errors.pb and error.pb.", metavar="NAME"),
    Flag("storage.type", "Flyte's kind of store: stow, s3, minio, local, mem or redis.", metavar="TYPE"),
    Flag("storage.container", "Flyte's base bucket.", metavar="BUCKET"),
    Flag("storage.stow.kind", "s3, google, azure or local.", metavar="KIND"),
    Flag("storage.stow.config", "One setting of the store, key=value.", metavar="KEY=VALUE", repeats=True, secret=True),
    Flag("storage.connection.endpoint", "Flyte 1: the S3 server.", metavar="URL"),
    Flag("storage.connection.access-key", "Flyte 1: the access key id.", metavar="ID"),
    Flag("storage.connection.secret-key", "Flyte 1: the secret key.", metavar="KEY", secret=True),
    Flag("storage.connection.region", "Flyte 1: the S3 region.", metavar="NAME"),
    Flag("storage.connection.auth-type", "Flyte 1: accesskey or iam.", metavar="TYPE"),
    Flag("storage.connection.disable-ssl", "Flyte 1: plain http for an endpoint without a scheme."),
    Flag("logger.level", "The reference's log level, 0 to 6.", metavar="N"),
)

#: The reference's global flags that have no effect here: accepted, so that its command lines run unchanged.
IGNORED: Final = (
    Flag("show-source", short="s"),
    Flag("storage.enable-multicontainer"),
    Flag("storage.enableLegacyMetrics"),
    *(
        Flag(name, metavar="VALUE")
        for name in (
            "kubeconfig",
            "storage.cache.max_size_mbs",
            "storage.cache.target_gc_percent",
            "storage.limits.maxDownloadMBs",
            "storage.defaultHttpClient.timeout",
            "storage.defaultHttpClient.maxIdleConns",
            "storage.defaultHttpClient.maxIdleConnsPerHost",
            "storage.defaultHttpClient.maxConnsPerHost",
            "storage.defaultHttpClient.idleConnTimeout",
            "logger.formatter.type",
            "as",
            "as-uid",
            "as-group",
            "as-user-extra",
            "certificate-authority",
            "client-certificate",
            "client-key",
            "cluster",
            "context",
            "password",
            "proxy-url",
            "request-timeout",
            "server",
            "tls-server-name",
            "token",
            "user",
            "username",
        )
    ),
    Flag("namespace", metavar="VALUE", short="n"),
    Flag("logger.show-source"),
    Flag("logger.mute"),
    Flag("insecure-skip-tls-verify"),
    Flag("disable-compression"),
)

#: klog's flags, which the reference inherits: switches, then those with a value. Only under the name flyte-copilot.
KLOG: Final = (
    Flag("v", metavar="VALUE", short="v"),
    *(
        Flag(name)
        for name in ("add_dir_header", "alsologtostderr", "logtostderr", "one_output", "skip_headers", "skip_log_headers")
    ),
    *(
        Flag(name, metavar="VALUE")
        for name in ("log_backtrace_at", "log_dir", "log_file", "log_file_max_size", "stderrthreshold", "vmodule")
    ),
)

GLOBAL: Final = (*OURS, *REFERENCE, *IGNORED)

HELP: Final = Flag("help", "This text.", short="h")

_INPUTS: Final = (
    Flag("from-remote", "The inputs.pb to stage.", short="f", metavar="URI", aliases=("inputs",)),
    Flag("to-local-dir", "The directory to stage into.", short="o", metavar="DIR", aliases=("to",)),
    Flag("to-output-prefix", "Where the error document of a failure goes.", metavar="URI", aliases=("errors-to",)),
    Flag(
        "format",
        "How the values are written besides one file each.",
        short="m",
        metavar="FORMAT",
        default="JSON",
        choices=FORMATS,
    ),
    Flag(
        "file-input-layout", "How files are laid out.", metavar="LAYOUT", default="DIRECT", choices=LAYOUTS, aliases=("layout",)
    ),
    Flag(
        "download-mode",
        "Whether files come too.",
        short="d",
        metavar="MODE",
        default="DOWNLOAD_EAGER",
        choices=DOWNLOAD_MODES,
        aliases=("mode",),
    ),
    Flag(
        "input-interface",
        "The declared inputs: a core.VariableMap in base64.",
        short="i",
        metavar="BASE64",
        aliases=("interface",),
    ),
    Flag("timeout", "Time for all of it, as 1h0m0s; 0 is no limit.", short="t", metavar="DURATION", default="1h0m0s"),
    Flag("dry-run", "Print the plan and move nothing."),
    Flag("json", "Print the result as one JSON document."),
)

_INPUT: Final = Flag(
    "input",
    "One input, beside or instead of an inputs.pb; a URI is a file, one that ends with / a directory.",
    metavar="NAME[:TYPE]=VALUE",
    repeats=True,
)

_OUTPUTS: Final = (
    Flag("from-local-dir", "The directory the task writes its outputs to.", short="f", metavar="DIR", aliases=("outputs",)),
    Flag("to-output-prefix", "Where outputs.pb goes.", short="o", metavar="URI", aliases=("to",)),
    Flag("to-raw-output", "Where files go.", short="x", metavar="URI", aliases=("raw",)),
    Flag("interface", "The declared outputs: a core.TypedInterface in base64.", short="i", metavar="BASE64"),
    Flag(
        "output",
        "One output, instead of --interface; without a type, by its looks.",
        metavar="NAME[:TYPE]",
        repeats=True,
    ),
    Flag("any-output", "Publish whatever the task leaves, each by its looks."),
    Flag("format", "Accepted for the reference's sake.", short="m", metavar="FORMAT", default="JSON", choices=FORMATS),
    Flag(
        "upload-mode",
        "When files go.",
        short="u",
        metavar="MODE",
        default="UPLOAD_ON_EXIT",
        choices=UPLOAD_MODES,
        aliases=("mode",),
    ),
    Flag("meta-output-name", "The name of outputs.pb.", metavar="NAME", default="outputs.pb"),
    Flag(
        "timeout",
        "Time for the upload, once the task has ended; 0 is no limit.",
        short="t",
        metavar="DURATION",
        default="1h0m0s",
    ),
    Flag("start-timeout", "Time for the task to start; 0 is no limit.", metavar="DURATION", default="0"),
    Flag("start-watcher-type", "What tells that the task started.", metavar="NAME", default="signal"),
    Flag("exit-watcher-type", "What tells that the task ended.", metavar="NAME", default="signal"),
    Flag(
        "witnesses",
        "Who tells how the task ended, besides the exit watcher: wrapper, marker, process, pod, with commas between them. "
        "Default: wrapper (where there is a control directory) and marker.",
        metavar="LIST",
    ),
    Flag(
        "task-process", "The task's process name, for the witness process; without it, every process but ours.", metavar="NAME"
    ),
    Flag(
        "trust-signal",
        "Take a bare SIGTERM for success when every output can be read and no witness says otherwise: the default of "
        "flyte-copilot only.",
    ),
    Flag("no-partial", "Keep nothing under partial/ of a task that is not proven to have succeeded."),
    Flag("no-manifest", "Write no _manifest.json beside outputs.pb."),
    Flag("no-receipt", "Write no _receipt.json beside outputs.pb."),
    Flag("dry-run", "Print the plan and move nothing."),
    Flag("json", "Print the result as one JSON document."),
)

#: Secrets that init delivers. No flag ever takes a value: references name where it is.
SECRETS_OF_INIT: Final = (
    Flag(
        "secret",
        "A secret for the task: /path[:mode[:uid[:gid]]]=REFERENCE is a file on a memory volume, NAME=REFERENCE a variable, "
        "which copilot exec gives to its command. A reference is like aws://prod/db#password.",
        metavar="TARGET=REFERENCE",
        repeats=True,
    ),
    Flag(
        "secrets-template",
        "A file rendered from several secrets by the Jinja template TEMPLATE.",
        metavar="PATH[:MODE[:UID[:GID]]]=TEMPLATE",
        repeats=True,
    ),
    Flag("secrets-name", "A secret that the templates know by name.", metavar="NAME=REFERENCE", repeats=True),
    Flag(
        "secrets-flyte",
        "Flyte's secrets: a core.SecurityContext in base64, or several.",
        metavar="BASE64",
        repeats=True,
    ),
    Flag(
        "secrets-platform",
        "How Flyte's secrets are kept, KEY=VALUE: manager, embedded-in, namespace, org, domain, project, gcp-project, "
        "azure-vault, env-prefix, directory, vault-kv.",
        metavar="KEY=VALUE",
        repeats=True,
    ),
    Flag(
        "secrets-env-mode",
        "Mode and owner of the file that brings variables to copilot exec.",
        metavar="MODE[:UID[:GID]]",
        default="0440",
    ),
    Flag("secrets-allow-disk", "Write secrets also where it is no memory volume."),
    Flag("secrets-once", "Hand nothing over to the sidecar: nothing is kept fresh, and leases end by themselves."),
)

#: What the sidecar does with them; references and templates come to it from init.
SECRETS_OF_SIDECAR: Final = (
    Flag("secrets", "Stay until the task has ended, for its secrets, even where it declares no outputs."),
    Flag(
        "secrets-interval",
        "How often secrets without a lease are read again; 0 is never.",
        metavar="DURATION",
        default="5m",
    ),
    Flag("secrets-signal", "The signal that tells the app that its secret files changed.", metavar="NAME"),
    Flag("secrets-process", "Who gets it: every process of this program's or script's name.", metavar="NAME"),
    Flag("secrets-pid-file", "Who gets it: the process whose number stands in this file.", metavar="PATH"),
    Flag(
        "secrets-command",
        "What is run instead when secret files changed; it finds their paths in COPILOT_CHANGED_SECRETS.",
        metavar="COMMAND",
    ),
    Flag(
        "leak-guard",
        "What happens when an output holds a secret's value.",
        metavar="POLICY",
        default="warn",
        choices=("off", "warn", "refuse"),
    ),
)

#: The commands that run in pods: read with ``pflag``, without click, so that they start at once.
POD_COMMANDS: Final = {
    "download": _INPUTS,
    "init": (*_INPUTS, _INPUT, *SECRETS_OF_INIT),
    "sidecar": (*_OUTPUTS, *SECRETS_OF_SIDECAR),
}


def table(command: str, *, drop_in: bool) -> Table:
    """The flags that ``command`` reads; of every pod command where it is empty (only their arity counts then)."""
    first = KLOG if drop_in else ()
    own = POD_COMMANDS[command] if command else tuple(flag for flags in POD_COMMANDS.values() for flag in flags)
    return Table((*first, HELP, *own, *GLOBAL))
