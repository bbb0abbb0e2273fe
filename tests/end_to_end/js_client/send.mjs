// Sends audit events with OpenTelemetry's JavaScript SDK and ends when every one is acknowledged.
//
//   OTEL_AUDIT_KEY=oak_… node send.mjs --endpoint http://127.0.0.1:4318 --protocol http/json --count 100
//
// --protocol http/protobuf | http/json | grpc   --endpoint URL without a path   --count N (1)
// --run TEXT: attribute test.run of every event   --batch N (512): events a request
// --deadline SECONDS (120): how long refused or failed requests are sent again
// --list FILE: one JSON line an event {"record_id", "trace_id", "span_id"}
// Prints {"protocol", "sent", "exported", "retries"} and exits 0 when all are exported, else 1.

import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Metadata, credentials } from "@grpc/grpc-js";
import { ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { SeverityNumber } from "@opentelemetry/api-logs";
import { OTLPLogExporter as GrpcExporter } from "@opentelemetry/exporter-logs-otlp-grpc";
import { OTLPLogExporter as JsonExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPLogExporter as ProtobufExporter } from "@opentelemetry/exporter-logs-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { BasicTracerProvider } from "@opentelemetry/sdk-trace-base";

const EXPORT_OK = 0;
const RETRY_MS = 100;

const { values: options } = parseArgs({
  options: {
    endpoint: { type: "string" },
    protocol: { type: "string", default: "http/protobuf" },
    count: { type: "string", default: "1" },
    run: { type: "string", default: "" },
    batch: { type: "string", default: "512" },
    deadline: { type: "string", default: "120" },
    list: { type: "string" },
  },
});

function makeExporter() {
  const key = `Bearer ${process.env.OTEL_AUDIT_KEY}`;
  if (options.protocol === "grpc") {
    const metadata = new Metadata();
    metadata.set("authorization", key);
    return new GrpcExporter({ url: options.endpoint, credentials: credentials.createInsecure(), metadata });
  }
  const made = { "http/json": JsonExporter, "http/protobuf": ProtobufExporter }[options.protocol];
  if (!made) throw new Error(`unknown protocol ${options.protocol}`);
  return new made({
    url: `${options.endpoint}/v1/logs`,
    headers: { authorization: key },
    compression: "gzip",
  });
}

// The SDK gives a batch up after a failure; an audit client must not.
class RetryingExporter {
  exported = 0;
  retries = 0;

  constructor(exporter, deadline) {
    this.exporter = exporter;
    this.deadline = deadline;
  }

  export(records, done) {
    this.exporter.export(records, (result) => {
      if (result.code === EXPORT_OK) {
        this.exported += records.length;
        done(result);
      } else if (Date.now() < this.deadline) {
        this.retries += 1;
        setTimeout(() => this.export(records, done), RETRY_MS);
      } else {
        console.error(`given up: ${result.error?.message}`);
        done(result);
      }
    });
  }

  forceFlush() {
    return this.exporter.forceFlush?.() ?? Promise.resolve();
  }

  shutdown() {
    return this.exporter.shutdown();
  }
}

function uuid7() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = bytes.toString("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function emit(logger, tracer, number) {
  const span = tracer.startSpan("request");
  const recordId = uuid7();
  logger.emit({
    eventName: "audit.data_access.read",
    timestamp: Date.now(),
    severityNumber: SeverityNumber.INFO,
    body: `read document ${number}`,
    context: trace.setSpan(ROOT_CONTEXT, span),
    attributes: {
      "audit.record.id": recordId,
      "audit.category": "data_access",
      "audit.action": "read",
      "audit.outcome": "success",
      "user.id": `user-${number % 10}`,
      "audit.target.type": "file",
      "audit.target.id": `file-${number}`,
      "http.response.status_code": 200,
      "test.run": options.run,
      "test.number": number,
      "test.ratio": number / 3,
      "test.nested": { list: ["a", 1, true], text: "é ✓" },
    },
  });
  span.end();
  const { traceId, spanId } = span.spanContext();
  return { record_id: recordId, trace_id: traceId, span_id: spanId };
}

const count = Number(options.count);
const deadlineMs = Number(options.deadline) * 1000;
const exporter = new RetryingExporter(makeExporter(), Date.now() + deadlineMs);
// Beyond maxQueueSize the processor drops; beyond exportTimeoutMillis it goes on without the batch.
const processor = new BatchLogRecordProcessor({
  exporter,
  maxQueueSize: count + 1,
  maxExportBatchSize: Math.min(Number(options.batch), count),
  exportTimeoutMillis: deadlineMs + 60_000,
  scheduledDelayMillis: 50,
});
const provider = new LoggerProvider({
  resource: resourceFromAttributes({ "service.name": "js-client", "service.instance.id": uuid7() }),
  processors: [processor],
});
const logger = provider.getLogger("js-client", "1.0.0");
const tracer = new BasicTracerProvider().getTracer("js-client");

const events = [];
for (let number = 0; number < count; number += 1) events.push(emit(logger, tracer, number));
// The provider's own forceFlush gives up after 30 s.
await processor.forceFlush().catch((error) => console.error(`flush failed: ${error.message}`));
if (options.list) writeFileSync(options.list, events.map((event) => JSON.stringify(event) + "\n").join(""));
console.log(
  JSON.stringify({
    protocol: options.protocol,
    sent: count,
    exported: exporter.exported,
    retries: exporter.retries,
  }),
);
await provider.shutdown();
process.exit(exporter.exported === count ? 0 : 1);
