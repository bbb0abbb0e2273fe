"""Texts that look like secrets and are none: nothing in them may change."""

from __future__ import annotations

from collections.abc import Iterator

from tests.redaction.prose import PROSE
from tests.support.redaction_corpus import INNOCENT_TEMPLATES, Corpus

# Ids, digests and numbers of machines.
IDS = (
    "{uuid}", "{hex:16}", "{hex:24}", "{hex:32}", "{hex:40}", "{hex:56}", "{hex:64}", "{hex:96}", "{hex:128}",
    "md5 {hex:32}", "sha1={hex:40}", "sha256:{hex:64}", "commit {hex:40}", "merge of {hex:7} into {hex:8}",
    "ETag: \"{hex:32}\"", "etag W/\"{hex:8}-{A-Za-z0-9+/:27}\"", "integrity sha512-{A-Za-z0-9+/:86}==",
    "traceparent 00-{hex:32}-{hex:16}-01", "trace_id={hex:32} span_id={hex:16}", "X-Request-ID: {uuid}",
    "request_id={uuid} took {0-9:3} ms", "correlation id {uuid}", "job {uuid} finished", "01J{A-HJKMNP-TV-Z0-9:23}",
    "order 9{0-9:11}", "order number 10{0-9:8}", "invoice INV-2025-{0-9:6}", "PO{0-9:8}", "case #{0-9:6}",
    "ticket ABC-{0-9:4}", "customer 1{0-9:7}", "SKU-{A-Z:3}-{0-9:5}", "batch 1{0-9:12}", "{0-9:5}", "{0-9:8}",
    "tracking 1Z{A-Z0-9:6}{0-9:10}", "RR{0-9:9}DE", "parcel 00{1-9:1}{0-9:17}", "flight LH{0-9:3}",
    "ISBN 978-{0-9:1}-{0-9:3}-{0-9:5}-{0-9:1}", "EAN {ean}", "gtin={ean}", "VIN WVWZZZ1JZ{A-HJ-NPR-Z0-9:8}",
    "1{0-9:9}.{0-9:6}", "timestamp 17{0-9:8}", "at 17{0-9:11}", "ts=17{0-9:17}", "time_unix_nano: 17{0-9:17}",
    "2025-0{1-9:1}-1{0-9:1}T0{0-9:1}:1{0-9:1}:2{0-9:1}.{0-9:9}Z", "2025-11-2{0-9:1} 10:1{0-9:1}:00,{0-9:3}",
    "duration 0.{0-9:16} s", "lat 5{0-9:1}.{0-9:6}, lon 1{0-9:1}.{0-9:6}", "size 1{0-9:9} bytes",
    "pid 1{0-9:4} port 5{0-9:4}", "+0{0-9:1}:00", "{0-9:3}-{0-9:4}", "room {0-9:2}.{0-9:3}", "{0-9:2}/{0-9:2}/2025",
    "ticket/{0-9:10}", "user-{0-9:12}", "uid={0-9:6}(app) gid={0-9:6}", "version 1.{0-9:2}.{0-9:3}-beta.{0-9:1}",
    "chr1{0-9:1}:{1-9:1}{0-9:7}-{1-9:1}{0-9:7}", "rs{0-9:9}", "CVE-2025-{0-9:5}", "RFC {1-9:1}{0-9:3}",
)  # fmt: skip
# Names and places in machines.
PLACES = (
    "v{0-9:1}.{0-9:2}.{0-9:1}", "{a-z:6}-{0-9:1}.{0-9:2}.{0-9:1}-py3-none-any.whl", "lodash@4.17.{0-9:2}",
    "@{a-z:6}/{a-z:8}@{0-9:1}.{0-9:2}.{0-9:1}", "npm install @{a-z:5}/{a-z:7}", "git@github.com:{a-z:6}/{a-z:8}.git",
    "https://github.com/{a-z:6}/{a-z:8}/commit/{hex:40}", "ghcr.io/{a-z:6}/{a-z:5}@sha256:{hex:64}",
    "registry.example/{a-z:6}:{0-9:1}.{0-9:2}", "image={a-z:5}/{a-z:5}:{hex:7}", "docker://{hex:64}",
    "s3://{a-z:8}/year=2025/month=1{0-2:1}/part-0000{0-9:1}-{uuid}.parquet", "gs://{a-z:8}/{a-z:5}/{hex:8}.csv",
    "arn:aws:iam::{0-9:12}:role/{a-z:8}", "arn:aws:lambda:eu-west-1:{0-9:12}:function:{a-z:8}",
    "arn:aws:kms:eu-central-1:{0-9:12}:key/{uuid}", "projects/{a-z:6}/secrets/{a-z:8}/versions/3",
    "/subscriptions/{uuid}/resourceGroups/{a-z:6}", "i-0{hex:16}", "vpc-0{hex:16}", "ami-{hex:17}", "sg-0{hex:16}",
    "{a-z:5}-deployment-{hex:10}-{a-z0-9:5}", "pod/{a-z:6}-{a-z0-9:9}-{a-z0-9:5} 1/1 Running", "kube-system/{a-z:7}",
    "/home/{a-z:5}/projects/{a-z:6}/main.py:{0-9:3}", "C:\\Users\\{a-z:5}\\Documents\\report_{0-9:4}.docx",
    "/var/lib/docker/overlay2/{hex:64}/merged", "com.example.{a-z:6}.security.PasswordEncoder",
    "org.springframework.security.authentication.UsernamePasswordAuthenticationToken",
    "at com.example.{a-z:6}.TokenService.refresh(TokenService.java:{0-9:3})",
    "  File \"/app/{a-z:6}/auth.py\", line {0-9:3}, in check_password",
    "java.lang.IllegalStateException: no bean of type {a-z:6}.ApiKeyFilter", "goroutine {0-9:2} [running]:",
    "0x{hex:16} in {a-z:6}_init () at {a-z:6}.c:{0-9:3}", "thread 'main' panicked at src/main.rs:{0-9:3}:{0-9:2}",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_{0-9:1} like Mac OS X) AppleWebKit/605.1.15 Version/17.{0-9:1} Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/12{0-9:1}.0.{0-9:4}.{0-9:3} Safari/537.36 Edg/12{0-9:1}.0.{0-9:4}.{0-9:2}",
    "python-requests/2.3{0-9:1}.{0-9:1}", "curl/8.{0-9:1}.0", "okhttp/4.{0-9:2}.0", "kube-probe/1.2{0-9:1}",
    ".css-{a-z0-9:6}{color:red}", "<div class=\"sc-{a-zA-Z:6} {a-zA-Z:6}\">", "_{a-z:5}_{a-z0-9:5}_{0-9:2}",
    "/static/js/main.{hex:8}.chunk.js", "/assets/index-{A-Za-z0-9_-:8}.css", "function {a-z:1}({a-z:1}){return {a-z:1}.key}",
    "data:image/png;base64,iVBORw0KGgo{A-Za-z0-9+/:300}", "data:font/woff2;base64,d09GMgAB{A-Za-z0-9+/:200}=",
    "https://example.com:8443/{a-z:5}?page={0-9:2}&sort=-created_at", "https://{a-z:6}.example/{a-z:8}/{uuid}?tab=2",
    "GET /api/v1/users/{0-9:5}/password-policy HTTP/1.1", "POST /oauth/token 200 {0-9:3}", "PUT /session/{uuid}/refresh",
    "http://localhost:{1-9:1}{0-9:3}/health", "redis://cache:6379/0", "postgres://db.example:5432/app", "amqp://mq:5672",
    "10.{0-9:2}.{1-9:2}.{1-9:2}:{1-9:1}{0-9:3}", "fe80::{hex:4}:{hex:4}", "2001:db8:{hex:4}::1", "{mac}", "/dev/disk/by-uuid/{uuid}",
    "SELECT id, name FROM users WHERE id = {0-9:5} AND deleted_at IS NULL", "UPDATE users SET password_reset_at = NOW() WHERE id = {0-9:4}",
    "CREATE INDEX idx_{a-z:6}_token_count ON usage (token_count)", "INSERT INTO orders (id, total) VALUES ({0-9:6}, {0-9:2}.{0-9:2})",
    "SELECT * FROM api_keys WHERE key_id = '{a-z:6}'", "ALTER TABLE {a-z:6} ADD COLUMN secret_name text",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{A-Za-z0-9+/:43} {a-z:5}@{a-z:6}", "SHA256:{A-Za-z0-9+/:43}",
    "-----BEGIN CERTIFICATE-----\n{A-Za-z0-9+/:64}\n-----END CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----\n{A-Za-z0-9+/:64}",
    "pk_live_{A-Za-z0-9:24}", "pk_test_{A-Za-z0-9:24}", "phc_{A-Za-z0-9:43}", "G-{A-Z0-9:10}", "UA-{0-9:8}-1", "GTM-{A-Z0-9:7}",
    "report_{a-z:6}_2025-0{1-9:1}.xlsx", "IMG_2025{0-9:4}_{0-9:6}.jpg", "backup-{0-9:8}T{0-9:6}Z.tar.gz", "icon@2x.png",
    "{a-z:8}.tar.gz.sha256", "libssl.so.{0-9:1}.{0-9:1}", "Screenshot 2025-0{1-9:1}-1{0-9:1} at 10.{0-9:2}.{0-9:2}.png",
)  # fmt: skip
# Innocent names with a value.
NAMED = (
    "max_tokens={0-9:4}", "token_count: {0-9:3}", "page_token={A-Za-z0-9:20}", "next_token: {A-Za-z0-9:24}", "input_tokens={0-9:4}",
    "password_reset_at=2025-01-0{1-9:1}", "password_policy: strong", "key_id={a-z:8}", "public_key={A-Za-z0-9+/:43}", "primary_key: id",
    "sort_key=created_{0-9:4}", "cache_key={a-z:5}:{hex:32}", "idempotency_key={uuid}", "secret_name={a-z:6}", "tokenizer: {a-z:6}",
    "cookie_consent=yes", "session_count: {0-9:3}", "pass_rate={0-9:2}", "author={a-z:6}", "partition_key: {uuid}", "auth_method=password",
    "auth_type: oauth2", "token_type=bearer", "key_usage: digitalSignature", "monkey={a-z:5}", "keyboard: qwertz", "hotkey=ctrl+{a-z:1}",
    "password_length={0-9:2}", "passed={0-9:3}", "bypass: false", "compass={0-9:3}", "passenger: {a-z:8}", "secretariat={a-z:6}",
    "grant_type=authorization_code", "authorized: true", "login=ok user={a-z:5}", "pin_code_length: 6", "shipping: {a-z:6}", "spinner=on",
    '{"password_set": true, "mfa": false}', '{"tokens": null, "secret": ""}', '{"max_tokens": {0-9:4}, "temperature": 0.{0-9:1}}',
    '{"cache_key": "{hex:32}", "ttl": {0-9:4}}', '{"public_key": "{A-Za-z0-9+/:43}", "kid": "{a-z:8}"}', '{"key": "{a-z:8}", "value": {0-9:3}}',
    '{"author": "{a-z:6}", "keywords": ["{a-z:5}", "{a-z:6}"]}', '{"idempotency_key": "{uuid}"}', '{"session": {"duration": {0-9:4}}}',
    '{"next_page_token": "{A-Za-z0-9_-:32}"}', '{"sort_key": "{uuid}", "page": {0-9:1}}', '{"token_count": {0-9:4}, "model": "{a-z:6}-4"}',
    '{"object_key": "uploads/{uuid}/{hex:16}.png"}', '{"changed": ["password", "email"], "by": "{a-z:5}"}', '{"reset": "password", "n": {0-9:1}}',
)  # fmt: skip


def innocents(seed: int, count: int) -> Iterator[str]:
    """count texts: every template in turn, as often as needed."""
    corpus = Corpus(seed)
    templates = (*IDS, *PLACES, *NAMED, *PROSE, *INNOCENT_TEMPLATES)
    for index in range(count):
        yield corpus.expand(templates[index % len(templates)])
