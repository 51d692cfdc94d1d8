"""Section 9.1 of docs/format.md, for reader.py: the catalogue."""

import datetime
import struct

from reader_primitives import Reader, need, sha256


class Catalogue:
    def __init__(self):
        self.points, self.damage, self.superseded = {}, {}, {}
        self.renewing = False

    def load(self, section):
        need(section.u64() and section.u64(), "catalogue: a next number is 0")
        if section.left():
            self.apply(section)

    def apply(self, changes):
        """An entry of room 1, or what a section has behind its numbers."""
        need(changes.left(), "catalogue: an entry without changes")
        while changes.left():
            kind = changes.u8()
            if kind >= 128:
                fields = Reader(changes.blob())
                self.change(kind - 128, fields)
                fields.end()
            else:
                self.change(kind, changes)

    def change(self, kind, fields):
        changes = {1: self.item, 2: self.point, 3: self.job, 4: self.point_removed, 5: self.file_of_point, 6: self.superseded_manifest,
                   7: self.renewal, 8: self.damaged, 9: self.healed}
        need(kind in changes, f"catalogue: a change of kind {kind}, of a newer program")
        changes[kind](fields)

    def item(self, fields):
        need(1 <= len(fields.blob()) <= 255, "catalogue: item")
        fields.i64(), fields.flag()

    def point(self, fields):
        point = {"number": fields.u64(), "item": fields.text(), "created": fields.i64(), "cut": fields.u64(), "digest": fields.take(32),
                 "length": fields.u64()}
        need(point["number"] and point["item"] and fields.u8() < 8, "catalogue: point")
        fields.u64(), fields.u64()
        point["file"] = point["number"]
        self.points[point["number"]] = point

    def job(self, fields):
        need(fields.u64() and 1 <= fields.u8() <= 4 and 1 <= fields.u8() <= 6, "catalogue: job")
        fields.blob(), fields.u64(), fields.i64(), fields.i64(), fields.u64(), fields.u64(), fields.u64()
        need(len(fields.blob()) <= 1024, "catalogue: a job's detail")

    def point_removed(self, fields):
        self.points.pop(fields.u64(), None)

    def file_of_point(self, fields):
        number, file = fields.u64(), fields.u64()
        need(file > number, "catalogue: a manifest's file of before its point")
        if number in self.points:
            self.points[number]["file"] = file

    def superseded_manifest(self, fields):
        file, point, since = fields.u64(), fields.u64(), fields.i64()
        need(file >= point > 0, "catalogue: superseded manifest")
        self.superseded[file] = point
        if since == 0:
            del self.superseded[file]

    def renewal(self, fields):
        self.renewing = fields.flag()

    def damaged(self, fields):
        for _ in range(self.count(fields)):
            key, kind, segment, _ = fields.take(16), fields.u8(), fields.u64(), fields.i64()
            need(kind in (1, 2, 4) and segment < 1 << 32, "catalogue: damage")
            self.damage[key] = segment

    def healed(self, fields):
        for _ in range(self.count(fields)):
            self.damage.pop(fields.take(16), None)

    @staticmethod
    def count(fields):
        count = fields.u32()
        need(1 <= count <= 4096, "catalogue: count")
        return count

    def points_digest(self):
        """Section 8."""
        return sha256(b"".join(struct.pack("<QQ", number, point["file"]) + point["digest"] + struct.pack("<Q", point["length"])
                               for number, point in sorted(self.points.items())))


def point_id(point):
    created = datetime.datetime.fromtimestamp(point["created"] // 10**9, datetime.timezone.utc)
    return f"{point['number']:06d}-{created:%Y%m%dT%H%M%SZ}"
