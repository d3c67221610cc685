-- Renews a node's lease, and tells of a node that is over. Behind append.lua. It is run where the broker is full, too, if
-- that can be told so: what it writes are some bytes of each node.
-- KEYS  the nodes with the ends of their leases, those that are over, what is known of both
-- ARGV  1 the node   2 how long a lease is (ms)   3 whether this is a new one   4 a node that is over by its own word, or ''
--       5 how long nobody may have renewed a lease until all are given time again (ms)
--       6 what the names of the sets of nodes' topics begin with   7 the node's name of before, or ''
local now, lease = clock(), tonumber(ARGV[2])
-- Leases are over by this clock, and it went on while the broker could not be reached, or was set.
local known = redis.call('HMGET', KEYS[3], 'seen', 'patience')
local seen, patience = tonumber(known[1]) or 0, tonumber(known[2]) or 0
if math.abs(now - seen) > tonumber(ARGV[5]) then
    patience = now + lease
end
redis.call('HSET', KEYS[3], 'seen', now, 'patience', patience)
local answer = {'lost'}
if ARGV[3] == '1' or redis.call('ZSCORE', KEYS[1], ARGV[1]) then
    redis.call('ZADD', KEYS[1], now + lease, ARGV[1])
    answer = {'held'}
end
if redis.call('ZSCORE', KEYS[1], ARGV[7]) then
    redis.call('ZADD', KEYS[1], now + lease, ARGV[7])
elseif ARGV[3] == '1' and ARGV[7] ~= '' then
    -- It was away for so long that it was taken for gone.
    answer = {'anew'}
end
-- Where the clock was set back, no lease is longer for it than one that is renewed now.
local latest = string.format('%.0f', now + lease)
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. latest, '+inf', 'LIMIT', 0, 16)) do
    redis.call('ZADD', KEYS[1], latest, node)
end
local over = {}
if now >= patience then
    over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 16)
end
if ARGV[4] ~= '' then
    over[#over + 1] = ARGV[4]
end
for _, node in ipairs(over) do
    redis.call('ZREM', KEYS[1], node)
    redis.call('SADD', KEYS[2], node)
end
local node = redis.call('SRANDMEMBER', KEYS[2])
if node then
    answer[2] = node
    for _, topic in ipairs(redis.call('SRANDMEMBER', ARGV[6] .. node, 16)) do
        answer[#answer + 1] = topic
    end
    if #answer == 2 then
        redis.call('SREM', KEYS[2], node)
    end
end
return answer
