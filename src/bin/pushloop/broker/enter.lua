-- A node has a member of a topic: its join is published if no node had it, and its id is in the answer then. Behind
-- append.lua.
-- KEYS  what is known of the companion topic, its publications, the members with their infos, how many nodes have
--       each, those that this node has, the nodes with the ends of their leases, the topics of this node
-- ARGV  1 the broker's run   2 the name of a new life   3 whether a life outlasts the run   4 the deadline (ms)
--       5 how many publications the companion keeps   6 for how long (ms)   7 for how long it is remembered (ms)
--       8 its channel   9 the node   10 the topic   11 for how long members are remembered (ms)
--       12 the member's id, as JSON   13 its info, as JSON   14 how many members the topic may have
if clock() > tonumber(ARGV[4]) then
    return {'late'}
end
if not redis.call('ZSCORE', KEYS[6], ARGV[9]) then
    return {'lost'}
end
local is_new = redis.call('HEXISTS', KEYS[3], ARGV[12]) == 0
if is_new and redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[14]) then
    return {'full'}
end
if redis.call('SADD', KEYS[5], ARGV[12]) == 1 then
    redis.call('HINCRBY', KEYS[4], ARGV[12], 1)
end
redis.call('SADD', KEYS[7], ARGV[10])
if is_new then
    redis.call('HSET', KEYS[3], ARGV[12], ARGV[13])
    local to = {run = ARGV[1], count = ARGV[5], age = ARGV[6], memory = ARGV[7], channel = ARGV[8]}
    local epoch, offset = place(ARGV[1], ARGV[2], ARGV[3])
    local join = '{"join":{"id":' .. ARGV[12] .. ',"info":' .. ARGV[13] .. '}}'
    append(to, epoch, offset, string.format('1 t %.0f ', clock()) .. join)
end
for _, key in ipairs({KEYS[3], KEYS[4], KEYS[5], KEYS[7]}) do
    redis.call('PEXPIRE', key, ARGV[11])
end
return is_new and {'done', ARGV[12]} or {'done'}
