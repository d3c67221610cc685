-- Publishes to a topic: gives it its number, keeps it, and tells all nodes, or does nothing.
-- KEYS  what is known of the topic, its publications, and what was answered under an idempotency key
-- ARGV  1 the broker's run   2 the name of a new life   3 whether a life outlasts the run
--       4 the deadline (ms since 1970, of the broker's clock)   5 how many publications are kept
--       6 for how long (ms)   7 for how long the topic is remembered (ms)   8 its channel   9 the record
--       10, 11 the life and offset that it has to be at, or ''   12 how long a key is remembered (ms)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[4]) then
    return {'late'}
end
if KEYS[3] then
    local answer = redis.call('HMGET', KEYS[3], 'epoch', 'offset')
    if answer[1] then
        return {'again', answer[1], answer[2]}
    end
end
local topic = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'run')
local epoch, offset = topic[1], tonumber(topic[2])
if not epoch or not offset or (topic[3] ~= ARGV[1] and ARGV[3] ~= '1') then
    epoch, offset = ARGV[2], 0
    redis.call('DEL', KEYS[2])
end
if ARGV[10] ~= '' and (ARGV[10] ~= epoch or tonumber(ARGV[11]) ~= offset) then
    return {'moved'}
end
local at = string.format('%.0f', offset + 1)
redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', at, 'run', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
if ARGV[5] ~= '0' then
    redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[5], at .. '-0', 'r', ARGV[9])
    redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
if KEYS[3] then
    redis.call('HSET', KEYS[3], 'epoch', epoch, 'offset', at)
    redis.call('PEXPIRE', KEYS[3], ARGV[12])
end
redis.call('PUBLISH', ARGV[8], epoch .. ' ' .. at .. ' ' .. ARGV[9])
return {'done', epoch, at}
