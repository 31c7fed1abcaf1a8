// All that hot-shots, the DogStatsD client for Node, can tell.
//
//     statsd.js PORT

const StatsD = require("hot-shots");

const client = new StatsD({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  globalTags: { team: "orders" },
  maxBufferSize: 1000,
  errorHandler: (error) => {
    throw error;
  },
});
const past = new Date(Date.now() - 600 * 1000);

client.increment("orders.taken", 2, { shop: "a" });
client.increment("orders.taken", 3, { shop: "a" });
client.decrement("orders.stock", 4);
client.gauge("orders.open", 9);
client.gauge("orders.open", 4.5);
client.increment("orders.past", 6, { timestamp: past });
client.gauge("orders.level", 7, { timestamp: past });
for (const value of [10, 20, 30]) {
  client.distribution("orders.value", value, { shop: "a" });
  client.histogram("orders.size", value);
  client.timing("orders.took", value);
}
for (const user of ["a", "b", "a"]) {
  client.set("orders.users", user);
}
client.event("deployed", "to\ntest", { alert_type: "warning" }, ["by:me"]);
client.check("database", client.CHECKS.WARNING, { message: "slow" }, ["by:me"]);
client.close();
