"""Elastic's own client, as a program that indexes logs would use it: told the URL, says what it was told."""
import sys

from elasticsearch import Elasticsearch, helpers

client = Elasticsearch(sys.argv[1], http_compress=True, request_timeout=60)
print("version", client.info()["version"]["number"])
print("health", client.cluster.health()["status"])
print("license", client.license.get()["license"]["status"])
if not client.indices.exists_index_template(name="logs"):
    print("template", client.indices.put_index_template(name="logs", index_patterns=["logs-*"])["acknowledged"])
actions = (
    {"_op_type": "create", "_index": "logs-shop", "_id": str(number), "message": f"line {number}", "number": number}
    for number in range(1000)
)
stored, errors = helpers.bulk(client, actions, chunk_size=300, pipeline="geo", routing="r")
print("stored", stored, "errors", len(errors))
print("document", client.index(index="single", id="a/b", document={"message": "alone"})["result"])
refused = list(helpers.streaming_bulk(client, [{"_op_type": "delete", "_index": "x", "_id": "1"}], raise_on_error=False))
print("refused", refused[0][0], refused[0][1]["delete"]["status"])
