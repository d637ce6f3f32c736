"""OpenSearch's own client."""
import sys

from opensearchpy import OpenSearch, helpers

client = OpenSearch(sys.argv[1], http_compress=True, timeout=60, http_auth=("ann", "secret"))
print("distribution", client.info()["version"]["distribution"])
actions = ({"_index": "logs-shop", "message": f"line {number}"} for number in range(1000))
stored, errors = helpers.bulk(client, actions, chunk_size=300)
print("stored", stored, "errors", len(errors))
