-- Tells where a topic is, and what is kept of it. A topic that is not known begins its life.
-- KEYS  what is known of the topic, its publications, and of a companion topic the members, if it is wanted how many
--       they are
-- ARGV  1 the broker's run   2 the name of a new life   3 whether a life outlasts the run
--       4 how many publications are wanted at most   5 those from this offset on, or '' for the latest
--       6 for how long the topic is remembered (ms)   7 of how many bytes they are, or little more
local topic = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'run')
local epoch, offset = topic[1], topic[2]
local is_new = not epoch or not offset or (topic[3] ~= ARGV[1] and ARGV[3] ~= '1')
if is_new then
    epoch, offset = ARGV[2], '0'
    redis.call('DEL', KEYS[2])
end
if is_new or topic[3] ~= ARGV[1] then
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', offset, 'run', ARGV[1])
end
-- A name that was only asked for is no reason to remember it for long: a server with subscribers asks again.
local memory = offset == '0' and 600000 or tonumber(ARGV[6])
-- A companion topic is remembered for longer where its publications are kept for longer.
if is_new or redis.call('PTTL', KEYS[1]) < memory then
    redis.call('PEXPIRE', KEYS[1], memory)
end
local kept = {}
local wanted, left = tonumber(ARGV[4]), tonumber(ARGV[7])
local backwards = ARGV[5] == ''
local from = backwards and '+' or ARGV[5]
while wanted > 0 and left > 0 do
    -- What is large is looked at piece by piece.
    local count = math.min(wanted, 64)
    local some
    if backwards then
        some = redis.call('XREVRANGE', KEYS[2], from, '-', 'COUNT', count)
    else
        some = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', count)
    end
    for _, entry in ipairs(some) do
        kept[#kept + 1] = entry
        left = left - #entry[2][2]
    end
    wanted = #some == count and wanted - count or 0
    if wanted > 0 then
        from = '(' .. some[#some][1]
    end
end
return {epoch, offset, kept, KEYS[3] and redis.call('HLEN', KEYS[3]) or 0}
