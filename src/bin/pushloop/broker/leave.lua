-- A node has a member of a topic no more, or is over, and some of its members with it: their leaves are published if
-- no other node has them. Behind append.lua.
-- KEYS, ARGV 1 to 11  as of enter.lua   12 the member's id, as JSON, or '' for some of a node that is over
if clock() > tonumber(ARGV[4]) then
    return {'late'}
end
local ids = {ARGV[12]}
if ARGV[12] == '' then
    ids = redis.call('SRANDMEMBER', KEYS[5], 100)
end
local to = {run = ARGV[1], count = ARGV[5], age = ARGV[6], memory = ARGV[7], channel = ARGV[8]}
for _, id in ipairs(ids) do
    if redis.call('SREM', KEYS[5], id) == 1 and redis.call('HINCRBY', KEYS[4], id, -1) <= 0 then
        redis.call('HDEL', KEYS[4], id)
        if redis.call('HDEL', KEYS[3], id) == 1 then
            local epoch, offset = place(ARGV[1], ARGV[2], ARGV[3])
            local leave = '{"leave":{"id":' .. id .. '}}'
            append(to, epoch, offset, string.format('1 t %.0f ', clock()) .. leave)
        end
    end
end
if redis.call('EXISTS', KEYS[5]) == 0 then
    redis.call('SREM', KEYS[7], ARGV[10])
end
return {'done'}
