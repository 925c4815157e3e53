-- Judges many requests, each by several policies, all of a request's policies or none: see relayer/limits/policy.py.
--
-- KEYS  one a policy of a request, in order
-- ARGV  the time in microseconds, or '' for this server's clock; and a JSON list of numbers: for each request how many
--       policies it has, and for each of them interval, capacity, furthest (microseconds), needed and used units
-- Gives for each policy 1 or 0, and how far ahead its subject is afterwards, in microseconds.

local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end

local asked = cjson.decode(ARGV[2])
local answer = {}
local key, arg = 1, 1
while arg <= #asked do
    local policies = asked[arg]
    local all = true
    local ahead, allowed, jumped = {}, {}, {}
    for n = 0, policies - 1 do
        local at = arg + 1 + n * 5
        local interval, capacity, furthest = asked[at], asked[at + 1], asked[at + 2]
        local debt = (tonumber(redis.call('GET', KEYS[key + n])) or now) - now
        -- Behind the clock nothing is owed; further ahead than any request can push, the clock jumped back.
        ahead[n] = math.min(math.max(debt, 0), furthest)
        jumped[n] = debt > furthest
        allowed[n] = ahead[n] + asked[at + 3] * interval <= capacity
        all = all and allowed[n]
    end
    for n = 0, policies - 1 do
        local at = arg + 1 + n * 5
        local used = asked[at + 4]
        if all then
            ahead[n] = ahead[n] + used * asked[at]
        end
        if (all and used > 0) or jumped[n] then
            -- Kept 10 s longer than it counts, for a clock that is set back a little.
            redis.call('SET', KEYS[key + n], string.format('%.0f', now + ahead[n]),
                       'PX', string.format('%.0f', math.ceil(ahead[n] / 1000) + 10000))
        end
        answer[#answer + 1] = allowed[n] and 1 or 0
        answer[#answer + 1] = ahead[n]
    end
    key = key + policies
    arg = arg + 1 + policies * 5
end
return answer
