"""What a Parquet file's pages and indexes say, read from its bytes: none of the readers we test with reports a column index."""

import dataclasses
import struct


class Thrift:
    """A reader of Thrift's compact protocol: structs become dictionaries by field number."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def number(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def value(self, kind):
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.number()
        if kind == 8:
            length = self.varint()
            self.at += length
            return self.data[self.at - length : self.at]
        if kind in (9, 10):
            head = self.byte()
            count = self.varint() if head >> 4 == 15 else head >> 4
            if head & 15 in (1, 2):
                return [self.byte() == 1 for _ in range(count)]
            return [self.value(head & 15) for _ in range(count)]
        assert kind == 12, kind
        return self.struct()

    def struct(self):
        fields, field = {}, 0
        while True:
            head = self.byte()
            if head == 0:
                return fields
            field = field + (head >> 4) if head >> 4 else self.number()
            fields[field] = self.value(head & 15)


@dataclasses.dataclass
class Page:
    first_row: int
    rows: int
    is_null: bool
    nulls: int
    least: bytes
    most: bytes


@dataclasses.dataclass
class Chunk:
    group: int
    path: str
    physical_type: int
    ascending: bool
    pages: list


def chunks(path):
    """Every column chunk with its pages, after its offsets, sizes and counts were checked against the bytes. Source: parquet.thrift."""
    data = path.read_bytes()
    footer = Thrift(data, len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]).struct()
    for number, group in enumerate(footer[4]):
        expected = None
        for column in group[1]:
            meta = column[3]
            name = b".".join(meta[3]).decode()
            start = meta.get(11, meta[9])
            assert expected in (None, start), f"{name}: chunks follow one another"
            expected = start + meta[7]
            at, plain, values, pages = start, 0, 0, []
            while at < expected:
                reader = Thrift(data, at)
                header = reader.struct()
                end = reader.at + header[3]
                plain += header[2] + reader.at - at
                if header[1] == 0:
                    pages.append((at, end - at))
                    values += header[5][1]
                at = end
            assert (at, plain, values) == (expected, meta[6], meta[5]), f"{name}: sizes and counts"
            assert meta[9] == pages[0][0], f"{name}: the first data page"
            offsets = Thrift(data, column[4]).struct()[1]
            assert [(o[1], o[2]) for o in offsets] == pages, f"{name}: the offset index"
            index = Thrift(data, column[6]).struct()
            firsts = [o[3] for o in offsets]
            ends = [*firsts[1:], group[3]]
            assert len(index[1]) == len(pages), f"{name}: an entry a page"
            yield Chunk(
                number,
                name,
                meta[1],
                index[4] == 1,
                [Page(f, e - f, *rest) for f, e, *rest in zip(firsts, ends, index[1], index[5], index[2], index[3])],
            )
