// An intake of Node's HTTP/2 (nghttp2): takes little at once, and ends each connection after some requests. A line for
// each connection and request.
const fs = require("node:fs");
const http2 = require("node:http2");

const [folder] = process.argv.slice(2);
const server = http2.createSecureServer({
  cert: fs.readFileSync(`${folder}/server.pem`),
  key: fs.readFileSync(`${folder}/server.key`),
  settings: { maxConcurrentStreams: 2, initialWindowSize: 1024 },
});
const tell = (what) => console.log(JSON.stringify(what));

server.on("session", () => tell({ connection: true }));
server.on("stream", (stream, headers) => {
  const chunks = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  stream.on("end", () => {
    tell({ headers, body: Buffer.concat(chunks).toString("base64") });
    stream.respond({ ":status": 202, "content-type": "application/json" });
    stream.end("{}");
    const { session } = stream;
    session.requests = (session.requests ?? 0) + 1;
    // GOAWAY; what has begun is answered.
    if (session.requests === 5) session.close();
  });
});
server.listen(0, "127.0.0.1", () => tell({ port: server.address().port }));
