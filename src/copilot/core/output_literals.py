"""Literals that need no reading: None, a union's choice, a name of something in a store."""

from __future__ import annotations

from copilot.core import idl
from copilot.core.types_text import is_none, none_variant


def none_literal() -> idl.Literal:
    """None."""
    return idl.Literal(scalar=idl.Scalar(none_type=idl.Void()))


def absent(literal_type: idl.LiteralType) -> idl.Literal | None:
    """The literal of an output that was not written: None for an optional and for the type None; nothing for other types."""
    if is_none(literal_type):
        return none_literal()
    variant = none_variant(literal_type)
    return None if variant is None else union_literal(variant, none_literal())


def union_literal(variant: idl.LiteralType, value: idl.Literal) -> idl.Literal:
    """A value under the variant that took it, as Flyte's ``Union{value, type}`` (the variant's tag comes with its type)."""
    return idl.Literal(scalar=idl.Scalar(union=idl.Union(value=value, type=variant)))


def stored_literal(literal_type: idl.LiteralType, uri: str, *, directory: bool, name: str = "") -> idl.Literal:
    """A literal that names ``uri``: a blob (SINGLE or MULTIPART by what is there), a schema or a structured dataset.

    Args:
        literal_type: a blob type, a schema type or a structured dataset type.
        uri: where the bytes are.
        directory: whether they are a tree.
        name: the file's name; its extension is the format of a structured dataset whose type names none.
    """
    match literal_type.WhichOneof("type"):
        case "schema":
            return idl.Literal(scalar=idl.Scalar(schema=idl.Schema(uri=uri, type=literal_type.schema)))
        case "structured_dataset_type":
            dataset_type = idl.StructuredDatasetType()
            dataset_type.CopyFrom(literal_type.structured_dataset_type)
            if not dataset_type.format and not directory:
                dataset_type.format = name.rpartition(".")[2] if "." in name else ""
            metadata = idl.StructuredDatasetMetadata(structured_dataset_type=dataset_type)
            return idl.Literal(scalar=idl.Scalar(structured_dataset=idl.StructuredDataset(uri=uri, metadata=metadata)))
        case _:
            blob_type = idl.BlobType(
                format=literal_type.blob.format,
                dimensionality=idl.BlobType.MULTIPART if directory else idl.BlobType.SINGLE,
            )
            return idl.Literal(scalar=idl.Scalar(blob=idl.Blob(uri=uri, metadata=idl.BlobMetadata(type=blob_type))))


def declared_directory(literal_type: idl.LiteralType) -> bool:
    """Whether a type that is only named by its URI means a tree."""
    if literal_type.WhichOneof("type") == "blob":
        return bool(literal_type.blob.dimensionality == idl.BlobType.MULTIPART)
    return True


def is_uri(text: str) -> bool:
    """Whether a text names something in a store, and not a path."""
    scheme, mark, rest = text.partition("://")
    return bool(mark and scheme and rest) and scheme[0].isalpha() and not any(c.isspace() for c in text)
