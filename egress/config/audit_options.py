"""The options for the audit log and the audit store; a part of L{egress.config.options}."""

from __future__ import annotations

from typing import Final

from egress.config import parsers as values
from egress.config.option import Option, Variable

_NONE: Final = ("none",)

AUDIT_OPTIONS: Final = (
    Option(
        name="audit-log",
        group="Operation",
        metavar="FILE|-",
        help="The audit log: one line of JSON for each decision. - is standard output.",
        default="none",
        fields=("audit_log",),
        parse=values.log_file,
        clear=_NONE,
    ),
    Option(
        name="audit-log-mode",
        group="Operation",
        metavar="600|640|660",
        help="The mode of the audit log file, whenever it is created: 600 for its owner, 640 if its group reads it, "
        "660 if its group also writes it.",
        default="600",
        fields=("audit_log_mode",),
        parse=values.file_mode,
    ),
    Option(
        name="audit-log-group",
        group="Operation",
        metavar="GROUP",
        help="The group of the audit log file, whenever it is created: a name or an id. The user of the process must "
        "be in this group.",
        default="none",
        fields=("audit_log_group",),
        parse=values.group,
        clear=_NONE,
    ),
    Option(
        name="audit-store",
        group="Operation",
        metavar="LOCATION",
        help="The audit store: a database with a record of each decision, which egress logs searches. sqlite:FILE, or "
        "postgresql://USER@HOST/DATABASE, which several proxies can share. PostgreSQL also keeps the grants of "
        "approvers for a restart. The default with --admin, and of egress run, is audit.db in --ca-dir. none: no audit "
        "store.",
        default="none, or audit.db (--admin)",
        fields=("audit_store",),
        parse=values.audit_store,
        clear=_NONE,
    ),
    Option(
        name="audit-store-password-file",
        group="Operation",
        metavar="FILE",
        help="A file with the password for a postgresql:// --audit-store. The variable EGRESS_AUDIT_STORE_PASSWORD "
        "contains the password itself. Without them, libpq reads PGPASSFILE or ~/.pgpass.",
        default="none",
        fields=("audit_store_password",),
        parse=values.password_file,
        variables=(Variable(name="EGRESS_AUDIT_STORE_PASSWORD", parse=values.password, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="audit-store-days",
        group="Operation",
        metavar="N",
        help="Delete records from the audit store after this number of days.",
        default="30",
        fields=("audit_store_days",),
        parse=values.number,
    ),
    Option(
        name="audit-store-size",
        group="Operation",
        metavar="SIZE",
        help="Delete the oldest records from the audit store while it is larger.",
        default="1g",
        fields=("audit_store_size",),
        parse=values.size,
    ),
    Option(
        name="audit-signing-key",
        group="Operation",
        metavar="FILE",
        help="A file with the Ed25519 key that signs the records of the audit store, so that egress logs verify finds "
        "changed, removed and inserted records. The first start creates the key, and FILE.pub with the public key.",
        default="none",
        fields=("audit_signing_key",),
        parse=values.new_file,
        clear=_NONE,
    ),
    Option(
        name="audit-spool-size",
        group="Operation",
        metavar="SIZE",
        help="While a postgresql:// --audit-store cannot be reached, records wait in a file of this size at most, one "
        "for each process, in --ca-dir. About 1 KB for each record.",
        default="256m",
        fields=("audit_spool_size",),
        parse=values.size,
    ),
    Option(
        name="audit-failure",
        group="Operation",
        metavar="continue|deny",
        help="What to do while the audit log or the audit store cannot be written, for example on a full disk. "
        "continue: continue, and count the lost lines and records. deny: reject every request with 503 until a line or "
        "record can be written again.",
        default="continue",
        fields=("audit_failure",),
        parse=values.audit_failure,
    ),
)
