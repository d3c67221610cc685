-- Publishes to a topic, or does nothing. Behind append.lua.
-- KEYS  what is known of the topic, its publications, and what was answered under an idempotency key
-- ARGV  1 the broker's run   2 the name of a new life   3 whether a life outlasts the run
--       4 the deadline (ms since 1970, of the broker's clock)   5 how many publications are kept
--       6 for how long (ms)   7 for how long the topic is remembered (ms)   8 its channel   9 the record
--       10, 11 the life and offset that it has to be at, or ''   12 how long a key is remembered (ms)
if clock() > tonumber(ARGV[4]) then
    return {'late'}
end
if KEYS[3] then
    local answer = redis.call('HMGET', KEYS[3], 'epoch', 'offset')
    if answer[1] then
        return {'again', answer[1], answer[2]}
    end
end
local epoch, offset = place(ARGV[1], ARGV[2], ARGV[3])
if ARGV[10] ~= '' and (ARGV[10] ~= epoch or tonumber(ARGV[11]) ~= offset) then
    return {'moved'}
end
local to = {run = ARGV[1], count = ARGV[5], age = ARGV[6], memory = ARGV[7], channel = ARGV[8]}
local at = append(to, epoch, offset, ARGV[9])
if KEYS[3] then
    redis.call('HSET', KEYS[3], 'epoch', epoch, 'offset', at)
    redis.call('PEXPIRE', KEYS[3], ARGV[12])
end
return {'done', epoch, at}
