"""The Standard Webhooks library of PyPI: reads secret and calls as JSON, tells of each call whether it holds."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def holds(secret, call):
    try:
        Webhook(secret).verify(call["body"], {name.lower(): value for name, value in call["headers"].items()})
    except WebhookVerificationError:
        return False
    return True


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps([holds(asked["secret"], call) for call in asked["calls"]]))
