-- Counts failures and locks out: see relayer/limits/lockout.py.
--
-- KEYS  the times of the last failures; the end of the lock
-- ARGV  the time in microseconds, or '' for this server's clock; 1 to count a failure, 0 to look; how many failures
--       within how many microseconds lock for how many microseconds
-- Gives how long the lock still holds, in microseconds; 0 where none held before this failure.

local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local most, window, hold = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local left = (tonumber(redis.call('GET', KEYS[2])) or now) - now
if left > 0 then
    -- More than a whole lock is left where the clock was set back.
    return math.min(left, hold)
end
if ARGV[2] == '1' then
    redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
    redis.call('LTRIM', KEYS[1], 0, most - 1)
    redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
    local oldest = tonumber(redis.call('LINDEX', KEYS[1], most - 1) or '')
    if oldest and math.abs(now - oldest) <= window then
        redis.call('SET', KEYS[2], string.format('%.0f', now + hold), 'PX', math.ceil(hold / 1000))
        redis.call('DEL', KEYS[1])
    end
end
return 0
