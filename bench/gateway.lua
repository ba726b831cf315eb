-- Chat completions through the gateway, for one wrk run. The environment tells what to send, so that the API key is on
-- no command line: BENCH_TOKEN, BENCH_PATH, BENCH_BODIES (a file with a request's body a line), BENCH_SEED.

local path, token = os.getenv("BENCH_PATH"), os.getenv("BENCH_TOKEN")
local head = "POST " .. path .. " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " .. token
head = head .. "\r\nContent-Type: application/json\r\nContent-Length: "
local random = math.random
local requests = {}

math.randomseed(tonumber(os.getenv("BENCH_SEED")))

for body in io.lines(os.getenv("BENCH_BODIES")) do
   requests[#requests + 1] = head .. #body .. "\r\n\r\n" .. body
end

function request()
   return requests[random(1, #requests)]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\nRESULT {"requests":%d,"microseconds":%d,"bytes":%d,"p50":%d,"p99":%d,"status_errors":%d,"socket_errors":%d}\n',
      summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
