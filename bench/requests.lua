-- The requests of one wrk run. The environment tells what to send, so that the API key is on no command line:
-- BENCH_TOKEN, BENCH_WHAT (hit, miss, put, mix), BENCH_ENTRIES (keys k0 … k<n-1>), BENCH_SEED.

local what = os.getenv("BENCH_WHAT")
local entries = tonumber(os.getenv("BENCH_ENTRIES"))
local headers = " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " .. os.getenv("BENCH_TOKEN") .. "\r\n"
local random = math.random
local bodies = {}

math.randomseed(tonumber(os.getenv("BENCH_SEED")))

local function new_body()
   local bytes = {}
   for i = 1, 480 do
      bytes[i] = string.format("%02x", random(0, 255))
   end
   return '{"value":{"role":"assistant","content":"' .. table.concat(bytes) .. '"},"ttl":86400}'
end

if what == "put" or what == "mix" then
   for i = 1, 256 do
      local body = new_body()
      bodies[i] = headers .. "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
   end
end

local function get(prefix)
   return "GET /api/v1/cache/" .. prefix .. random(0, entries - 1) .. headers .. "\r\n"
end

local function put()
   return "PUT /api/v1/cache/k" .. random(0, entries - 1) .. bodies[random(1, #bodies)]
end

local makers = {
   hit = function() return get("k") end,
   miss = function() return get("absent") end,
   put = put,
   mix = function() if random(1, 5) == 1 then return put() else return get("k") end end,
}
request = makers[what]

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\nRESULT {"requests":%d,"microseconds":%d,"bytes":%d,"p50":%d,"p99":%d,"status_errors":%d,"socket_errors":%d}\n',
      summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
