-- A node has a member of a topic no more, or is over, and some of its members with it: their leaves are published if
-- no other node has them, and their ids are in the answer. Behind append.lua.
-- KEYS, ARGV 1 to 11  as of enter.lua   12 the member's id, as JSON, or '' for some of a node that is over
--       13 '1' if a leave tells of the info with which its member came
if clock() > tonumber(ARGV[4]) then
    return {'late'}
end
local ids = {ARGV[12]}
if ARGV[12] == '' then
    ids = redis.call('SRANDMEMBER', KEYS[5], 100)
end
local to = {run = ARGV[1], count = ARGV[5], age = ARGV[6], memory = ARGV[7], channel = ARGV[8]}
local answer = {'done'}
for _, id in ipairs(ids) do
    if redis.call('SREM', KEYS[5], id) == 1 and redis.call('HINCRBY', KEYS[4], id, -1) <= 0 then
        redis.call('HDEL', KEYS[4], id)
        local info = ARGV[13] == '1' and redis.call('HGET', KEYS[3], id)
        if redis.call('HDEL', KEYS[3], id) == 1 then
            local epoch, offset = place(ARGV[1], ARGV[2], ARGV[3])
            local leave = '{"leave":{"id":' .. id .. (info and ',"info":' .. info or '') .. '}}'
            append(to, epoch, offset, string.format('1 t %.0f ', clock()) .. leave)
            answer[#answer + 1] = id
        end
    end
end
if redis.call('EXISTS', KEYS[5]) == 0 then
    redis.call('SREM', KEYS[7], ARGV[10])
end
return answer
