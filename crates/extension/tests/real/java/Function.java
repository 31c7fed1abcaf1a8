// A function and its runtime, in the two ways in which Java speaks HTTP. The newer one offers HTTP/2 with every request
// (Upgrade: h2c), the older one never does. Nothing of Datadog's is in it; what it sends to the extension is what any
// program could.

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.Map;

public class Function {
    static final String API = System.getenv("AWS_LAMBDA_RUNTIME_API");

    record Answer(int status, String requestId, String body) {}

    interface Client {
        Answer call(String method, String url, Map<String, String> headers, byte[] body) throws Exception;
    }

    static class OutOfStock extends RuntimeException {
        OutOfStock(String message) {
            super(message);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Client client = arguments[0].equals("HttpClient") ? newer() : Function::older;
        String base = "http://" + API + "/2018-06-01/runtime/invocation/";
        while (true) {
            Answer event = client.call("GET", base + "next", Map.of(), null);
            if (event.status() != 200) {
                throw new IOException("no event: " + event);
            }
            String call = base + event.requestId();
            Answer taken;
            try {
                byte[] answer = handle(event.body(), client).getBytes(StandardCharsets.UTF_8);
                taken = client.call("POST", call + "/response", Map.of("Content-Type", "application/json"), answer);
            } catch (OutOfStock thrown) {
                StackTraceElement line = thrown.getStackTrace()[0];
                String told = "{\"errorType\":\"OutOfStock\",\"errorMessage\":\"" + thrown.getMessage()
                        + "\",\"stackTrace\":[\"" + line + "\"]}";
                Map<String, String> kind = Map.of("Lambda-Runtime-Function-Error-Type", "OutOfStock");
                taken = client.call("POST", call + "/error", kind, told.getBytes(StandardCharsets.UTF_8));
            }
            if (taken.status() != 202) {
                throw new IOException("not taken: " + taken);
            }
        }
    }

    static String handle(String event, Client client) throws Exception {
        if (event.contains("\"rawPath\":\"/fail\"")) {
            throw new OutOfStock("none left");
        }
        String traces = "http://127.0.0.1:" + System.getenv("DD_APM_RECEIVER_PORT") + "/v0.4/traces";
        String otlp = "http://" + System.getenv("DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT") + "/v1/traces";
        Answer first = client.call("POST", traces, Map.of("Content-Type", "application/msgpack"), span());
        byte[] spans = System.getenv("OTLP_TRACES").getBytes(StandardCharsets.UTF_8);
        Answer second = client.call("POST", otlp, Map.of("Content-Type", "application/json"), spans);
        return "{\"statusCode\":503,\"body\":\"" + API + "\",\"sent\":[" + first.status() + "," + second.status() + "]}";
    }

    static Client newer() {
        HttpClient client = HttpClient.newHttpClient();
        return (method, url, headers, body) -> {
            var content = body == null
                    ? HttpRequest.BodyPublishers.noBody()
                    : HttpRequest.BodyPublishers.ofByteArray(body);
            var request = HttpRequest.newBuilder(URI.create(url)).method(method, content);
            headers.forEach(request::header);
            var answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
            String id = answer.headers().firstValue("Lambda-Runtime-Aws-Request-Id").orElse(null);
            return new Answer(answer.statusCode(), id, answer.body());
        };
    }

    static Answer older(String method, String url, Map<String, String> headers, byte[] body) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setRequestMethod(method);
        headers.forEach(connection::setRequestProperty);
        if (body != null) {
            connection.setDoOutput(true);
            connection.setFixedLengthStreamingMode(body.length);
            connection.getOutputStream().write(body);
        }
        try (InputStream answer = connection.getInputStream()) {
            String id = connection.getHeaderField("Lambda-Runtime-Aws-Request-Id");
            String text = new String(answer.readAllBytes(), StandardCharsets.UTF_8);
            return new Answer(connection.getResponseCode(), id, text);
        }
    }

    // One trace with one span that continues the caller's, as msgpack: [[{...}]].
    static byte[] span() {
        ByteArrayOutputStream to = new ByteArrayOutputStream();
        to.writeBytes(new byte[] {(byte) 0x91, (byte) 0x91, (byte) 0x88});
        text(to, "name", "java.work");
        text(to, "service", "orders");
        text(to, "resource", "order 17");
        number(to, "trace_id", Long.parseLong(System.getenv("CALLERS_TRACE")));
        number(to, "span_id", 4711);
        number(to, "parent_id", Long.parseLong(System.getenv("CALLERS_SPAN")));
        number(to, "start", System.currentTimeMillis() * 1_000_000);
        number(to, "duration", 1_000_000);
        return to.toByteArray();
    }

    static void text(ByteArrayOutputStream to, String key, String value) {
        for (String part : new String[] {key, value}) {
            byte[] bytes = part.getBytes(StandardCharsets.UTF_8);
            to.write(0xd9);
            to.write(bytes.length);
            to.writeBytes(bytes);
        }
    }

    static void number(ByteArrayOutputStream to, String key, long value) {
        byte[] bytes = key.getBytes(StandardCharsets.UTF_8);
        to.write(0xd9);
        to.write(bytes.length);
        to.writeBytes(bytes);
        to.write(0xcf);
        for (int shift = 56; shift >= 0; shift -= 8) {
            to.write((int) (value >>> shift));
        }
    }
}
