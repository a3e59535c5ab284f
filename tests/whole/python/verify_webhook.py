"""Verifies a webhook call with the Standard Webhooks library: secret, then a file with headers and body as JSON."""
import json, sys
from standardwebhooks.webhooks import Webhook

secret, path = sys.argv[1:]
call = json.load(open(path))
headers = {name.lower(): value for name, value in call["headers"].items()}
Webhook(secret).verify(call["body"], headers)
try:
    Webhook(secret).verify(call["body"] + " ", headers)
except Exception:
    print("holds")
else:
    sys.exit("a changed body was accepted")
