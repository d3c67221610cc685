-- What all scripts that publish begin with: a topic is at its KEYS 1 and 2, what is known of it and its publications.

-- Where it is. One that is not known begins its life, and one of another run of the broker begins a new one, unless
-- a life outlasts the run.
local function place(run, life, is_durable)
    local topic = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'run')
    local epoch, offset = topic[1], tonumber(topic[2])
    if not epoch or not offset or (topic[3] ~= run and is_durable ~= '1') then
        epoch, offset = life, 0
        redis.call('DEL', KEYS[2])
    end
    return epoch, offset
end

-- Gives a record its number, keeps it, and tells all nodes: `to` has the `run`, for how long the topic is remembered
-- (`memory`, ms), how many publications are kept (`count`) and for how long (`age`, ms), and the `channel`.
local function append(to, epoch, offset, record)
    local at = string.format('%.0f', offset + 1)
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', at, 'run', to.run)
    redis.call('PEXPIRE', KEYS[1], to.memory)
    if to.count ~= '0' then
        redis.call('XADD', KEYS[2], 'MAXLEN', to.count, at .. '-0', 'r', record)
        redis.call('PEXPIRE', KEYS[2], to.age)
    end
    redis.call('PUBLISH', to.channel, epoch .. ' ' .. at .. ' ' .. record)
    return at
end

-- Milliseconds since 1970, of the broker's clock.
local function clock()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

