-- The rate limit of examples/rate-limit, as one would write it for nginx: the same key, the same commands in the same
-- order in one round trip, the same headers. What does not change from request to request is made once.
local redis = require "nginx.redis"

local limit, window, name = @LIMIT@, @WINDOW@, "per-key"
local before = "@PREFIX@rl1:n" .. #name .. ":" .. name .. ":w" .. #tostring(window) .. ":" .. window
    .. ":h9:x-api-key:v"
local policy = '"' .. name .. '";q=' .. limit .. ";w=" .. window
local standing = '"' .. name .. '";r='
local exceeded = '{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded",'
    .. '"title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,'
    .. '"violated-policies":["' .. name .. '"]}'

local function fail(what)
    ngx.log(ngx.ERR, "rate limit: ", what)
    return ngx.exit(503)
end

return function()
    local value = ngx.var.http_x_api_key or ""
    local key = before .. #value .. ":" .. value
    local red = redis:new()
    red:set_timeout(1000)
    local ok, err = red:connect("@HOST@", @PORT@)
    if not ok then return fail(err) end
    red:init_pipeline(5)
    red:multi()
    red:set(key, "0", "EX", window, "NX")
    red:incr(key)
    red:pttl(key)
    red:exec()
    local replies
    replies, err = red:commit_pipeline()
    if not replies then return fail(err) end
    local results = replies[5]
    if type(results) ~= "table" or results[1] == false then return fail("EXEC failed") end
    local count, left = results[2], results[3]
    if type(count) ~= "number" or type(left) ~= "number" then return fail("INCR or PTTL failed") end
    if left < 0 then
        red:expire(key, window)
        left = window * 1000
    end
    red:set_keepalive(60000, 4096)

    local reset = math.max(math.ceil(left / 1000), 1)
    local header = ngx.header
    header["ratelimit-policy"] = policy
    header["ratelimit"] = standing .. math.max(limit - count, 0) .. ";t=" .. reset
    if count > limit then
        header["content-type"] = "application/problem+json"
        header["retry-after"] = reset
        ngx.status = 429
        ngx.print(exceeded)
        return ngx.exit(429)
    end
end
