"""All that Datadog's own DogStatsD client for Python can tell.

    statsd.py PORT
"""

import sys
import time

from datadog.dogstatsd import DogStatsd

client = DogStatsd(host="127.0.0.1", port=int(sys.argv[1]), constant_tags=["team:orders"])
past = int(time.time()) - 600

client.increment("orders.taken", 2, tags=["shop:a"])
client.increment("orders.taken", 3, tags=["shop:a"])
client.decrement("orders.stock", 4)
client.gauge("orders.open", 9)
client.gauge("orders.open", 4.5)
client.count_with_timestamp("orders.past", 6, timestamp=past)
client.gauge_with_timestamp("orders.level", 7, timestamp=past)
for value in (10, 20, 30):
    client.distribution("orders.value", value, tags=["shop:a"])
    client.histogram("orders.size", value)
    client.timing("orders.took", value)
for user in ("a", "b", "a"):
    client.set("orders.users", user)
client.event("deployed", "to\ntest", alert_type="warning", tags=["by:me"])
client.service_check("database", DogStatsd.WARNING, tags=["by:me"], message="slow")
client.flush()
client.close_socket()
