"""Rotation policies of keys, for the double of Azure Key Vault: how they are set, and what they do as time passes."""
import calendar
import datetime
import re

from rest_double import Violation

ROTATE, NOTIFY = "Rotate", "Notify"
LEAST_ROTATION, LEAST_EXPIRY, DAY = 7, 28, 86400


def later(seconds, duration):
    """The Unix time that long after another: a month ends on its last day if the day is not in it."""
    years, months, days = (int(part or 0) for part in re.fullmatch(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?", duration).groups())
    start = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    month = start.month - 1 + months + 12 * years
    year, month = start.year + month // 12, month % 12 + 1
    moved = start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))
    return int((moved + datetime.timedelta(days=days)).timestamp())


def least_days(duration):
    """The days that it has at least."""
    return (later(0, duration)) // DAY


class Rotation:
    """Part of the double's state; the others have now(), error(), find(), make(), kid() and the versions in keys."""

    def reset_rotation(self):
        self.policies = {}  # name → what was put, with its times

    def rotation_policy(self, request, name):
        self.find(name)
        if request.method == "GET":
            request.no_body()
        else:
            self.put_policy(name, request.json(["lifetimeActions", "attributes"]))
        return 200, {}, {"id": f"{self.kid(name)}/rotationpolicy", **self.policy_of(name)}

    def policy_of(self, name):
        """A key that never had one says that somebody would be told of its end."""
        return self.policies.get(
            name,
            {
                "lifetimeActions": [
                    {"trigger": {"timeAfterCreate": None, "timeBeforeExpiry": "P30D"}, "action": {"type": NOTIFY}}
                ],
                "attributes": {"expiryTime": None},
            },
        )

    def put_policy(self, name, body):
        if not isinstance(body["lifetimeActions"], list) or set(body["attributes"]) - {"expiryTime"}:
            raise Violation("the members of a rotation policy")
        expiry = body["attributes"].get("expiryTime")
        if expiry is not None:
            self.check_duration(expiry, LEAST_EXPIRY)
        types = []
        for entry in body["lifetimeActions"]:
            if set(entry) != {"trigger", "action"} or set(entry["action"]) != {"type"} or len(entry["trigger"]) != 1:
                raise Violation("the members of a lifetime action")
            [(trigger, duration)] = entry["trigger"].items()
            if trigger not in ("timeAfterCreate", "timeBeforeExpiry") or entry["action"]["type"] not in (ROTATE, NOTIFY):
                raise Violation("a trigger or an action that is not documented")
            types.append(entry["action"]["type"])
            self.check_duration(duration, LEAST_ROTATION)
            if types[-1] == NOTIFY:
                if trigger != "timeBeforeExpiry":
                    raise self.bad_policy("a notification comes before the expiry")
                continue
            if trigger == "timeBeforeExpiry" and expiry is None:
                raise self.bad_policy("a rotation before the expiry needs an expiry")
            if expiry is not None and later(0, duration) >= later(0, expiry):
                raise self.bad_policy("the rotation does not come before the expiry")
        if len(set(types)) != len(types):
            raise self.bad_policy("an action comes twice")
        now = self.now()
        created = self.policies.get(name, {}).get("attributes", {}).get("created", now)
        attributes = {**body["attributes"], "created": created, "updated": now}
        self.policies[name] = {"lifetimeActions": body["lifetimeActions"], "attributes": attributes}

    def check_duration(self, text, least):
        if not isinstance(text, str) or not re.fullmatch(r"P(?=\d)(\d+Y)?(\d+M)?(\d+D)?", text):
            raise self.bad_policy("a duration is not ISO 8601")
        if least_days(text) < least:
            raise self.bad_policy(f"a duration is below the least, {least} days")

    def bad_policy(self, text):
        return self.error(400, "BadParameter", f"The rotation policy is not valid: {text}.")

    def expiry_of_new(self, name):
        """When a version that a rotation makes now expires; None: never."""
        expiry = self.policy_of(name)["attributes"].get("expiryTime")
        return None if expiry is None else later(self.now(), expiry)

    def run_policies(self):
        """Makes the versions that are due."""
        for name, versions in self.keys.items():
            for entry in self.policy_of(name)["lifetimeActions"]:
                if entry["action"]["type"] != ROTATE:
                    continue
                newest, trigger = versions[-1], entry["trigger"]
                if trigger.get("timeAfterCreate"):
                    due = later(newest.created, trigger["timeAfterCreate"])
                elif newest.exp is not None:
                    due = newest.exp - later(0, trigger["timeBeforeExpiry"])
                else:
                    continue
                if due <= self.now():
                    self.rotate_now(name)
