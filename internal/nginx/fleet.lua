-- Finds the app of a request by its host, chooses the instance that gets it, both of the table that the router hands over, and counts
-- the requests under way to each. Written by the router; changes are overwritten.
--
-- A request is counted before the table's number is read again, and counted elsewhere if that has changed. So once a table is
-- in effect, a request to an endpoint that it does not have is either counted or never sent. This holds for every worker with
-- an entry in the board, old ones that finish their last requests included: they choose late, and of the present table.

local balancer = require "ngx.balancer"
local base = require "resty.core.base"
require "resty.core.response"
local bit = require "bit"
local ffi = require "ffi"
local C = ffi.C

local cast, tonumber = ffi.cast, tonumber
local get_request = base.get_request
local errmsg = base.get_errmsg_ptr()
local address_of = ffi.typeof("intptr_t")
local dict = ngx.shared.fleet

local MAX_FAILS, FAIL_TIMEOUT = 2, 5 -- the failures of an endpoint in these seconds that keep requests away, for as long
local BUCKETS, COUNTED = 18, 86400 -- ranges of latency; how many seconds counts are kept
local SLOTS, ENTRIES = 128, 16382
local HOSTS, LONGEST = 20000, 253 -- the hosts that a worker keeps; the length of a host name

-- The board is a file that all workers and the router share: see board.go.
ffi.cdef [[
struct fleet_entry { double id; int32_t requests; int32_t streams; };
struct fleet_slot { double pid; double epoch; double failed; double used; struct fleet_entry entries[16382]; };
struct fleet_board { double epoch; double closing[128]; double reserved[383]; struct fleet_slot slots[128]; };
struct fleet_lock { short type; short whence; long start; long len; int pid; int pad; };
int open(const char *path, int flags, ...);
int fcntl(int fd, int command, ...);
int close(int fd);
int kill(int pid, int signal);
void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset);
int munmap(void *addr, size_t length);
]]
local O_RDWR_CLOEXEC, PROT_READ_WRITE, MAP_SHARED, MAP_FAILED = 0x80002, 3, 1, cast("void *", -1)
local F_SETLKW, F_WRLCK, F_UNLCK, EPERM = 7, 1, 2, 1

local M = {}
local dir, board, map, lock -- map is kept from the collector
local slot                  -- this worker's in the board; nil: it has none
local closing = ffi.new("double[1]") -- not 0: each answer asks the client to close its connection, because this worker is about to retire
local hosts, known = {}, 0  -- by name, as clients say it: the app, as of an epoch; how many there are
local filed                 -- the hosts of the table's file, as of an epoch
local apps = {}             -- by name: the endpoints, as of an epoch
local endpoints = {}        -- by id: the endpoints that are counted
local free, used = {}, 0    -- entries of the slot
local requests, streams, tried = {}, {}, {} -- by request: the endpoint that it is sent to; those that it failed at
local missing = {}          -- by request: the app that has no endpoint; "" if no app has the host
local spare = ffi.new("struct fleet_entry") -- counts of a worker without a slot

local function read_file(path)
  local f, err = io.open(path, "r")
  if not f then return nil, err end
  local data = f:read("*a")
  f:close()
  return data
end

-- parse calls each with an app's name and its line; it returns the epoch of a table.
local function parse(data, each)
  local epoch = tonumber(data:match("^fleet%-endpoints 1 (%d+)\n"))
  if not epoch or data:sub(-5) ~= "\nend\n" then return nil, "not a table of endpoints" end
  for app, line in data:gmatch("\napp (%S+)([^\n]*)") do each(app, line) end
  return epoch
end

-- hosts_in returns the part of a table with the hosts; nil: it is of a router before this version, whose hosts are configuration.
local function hosts_in(data)
  local _, from = data:find("\nhosts\n", 1, true)
  return from and data:sub(from + 1, -5)
end

-- each_host iterates over that part.
local function each_host(text) return text:gmatch("host (%S+) (%S+)\n") end

local function store_hosts(text)
  local was, now, failed = dict:get("hosts"), {}, nil
  if not text or text == was then return true end
  for host, app in each_host(text) do
    now[host] = true
    if dict:get("host:" .. host) ~= app then
      local ok, why = dict:safe_set("host:" .. host, app)
      if not ok then failed = why end
    end
  end
  for host in each_host(was or "") do
    if not now[host] then dict:delete("host:" .. host) end
  end
  if failed then return nil, failed end
  return dict:safe_set("hosts", text)
end

-- store puts a table into the dictionary: apps come before their hosts, and go after them. The epoch comes last: it says that the rest
-- is there.
local function store(data)
  local names, failed = {}, nil
  local epoch, err = parse(data, function(app, line)
    names[app] = true
    if dict:get("app:" .. app) ~= line then
      local ok, why = dict:safe_set("app:" .. app, line)
      if not ok then failed = why end
    end
  end)
  if not epoch then return nil, err end
  local taken, refused = store_hosts(hosts_in(data))
  if not taken then failed = refused end
  for app in (dict:get("names") or ""):gmatch("%S+") do
    if not names[app] then dict:delete("app:" .. app) end
  end
  local list = {}
  for app in pairs(names) do list[#list + 1] = app end
  local ok, why = dict:safe_set("names", table.concat(list, " "))
  if failed or not ok then return nil, failed or why end
  dict:set("epoch", epoch)
  return epoch
end

-- new is called in the master, before it forks: the workers inherit the board and need no access to its file.
function M.new(directory)
  dir = directory
  local fd, size = C.open(dir .. "/feed/board", ffi.cast("int", O_RDWR_CLOEXEC)), ffi.sizeof("struct fleet_board")
  local p = fd >= 0 and C.mmap(nil, size, PROT_READ_WRITE, MAP_SHARED, fd, 0)
  if not p or p == MAP_FAILED then error("the router's board " .. dir .. "/feed/board cannot be used: error " .. ffi.errno()) end
  map = ffi.gc(p, function(it) -- a reload ends this VM in the master
    C.munmap(it, size)
    C.close(fd)
  end)
  board, lock = cast("struct fleet_board *", p), fd
  if not (dict:get("epoch") and dict:get("hosts")) then -- a reload keeps the dictionary; a version before this one put no hosts there
    local data, err = read_file(dir .. "/endpoints")
    local ok
    if data then ok, err = store(data) end
    if not ok and err then ngx.log(ngx.WARN, "no endpoints yet: ", err) end
  end
  return M
end

local function is_alive(pid)
  return pid > 0 and (C.kill(pid, 0) == 0 or ffi.errno() == EPERM)
end

-- attach claims a slot of the board for this worker. A lock keeps two workers from the same one.
function M.attach()
  math.randomseed(ngx.worker.pid())
  local range = ffi.new("struct fleet_lock", {F_WRLCK, 0, 0, 0, 0})
  C.fcntl(lock, ffi.cast("int", F_SETLKW), range)
  for i = 0, SLOTS - 1 do
    local s = board.slots[i]
    if not is_alive(s.pid) then
      s.pid, s.epoch, s.failed = 0, 0, 0
      for j = 0, s.used - 1 do
        s.entries[j].id, s.entries[j].requests, s.entries[j].streams = 0, 0, 0
      end
      s.used = 0
      closing = board.closing + i
      closing[0] = 0
      s.pid = ngx.worker.pid()
      slot = s
      break
    end
  end
  range.type = F_UNLCK
  C.fcntl(lock, ffi.cast("int", F_SETLKW), range)
  if not slot then ngx.log(ngx.ERR, "no slot is left in the router's board: requests are not counted") end
end

local function release(e)
  local entry = e.entry
  if not e.own or entry.requests ~= 0 or entry.streams ~= 0 then return end
  entry.id = 0
  endpoints[e.id] = nil
  free[#free + 1] = e.index
end

-- sweep releases all endpoints without requests. Apps are read again when they are next asked for.
local function sweep()
  apps = {}
  for _, e in pairs(endpoints) do
    e.app = nil
    release(e)
  end
end

-- entry returns the counts of an endpoint. The last one is for all that have no room: it counts for each endpoint.
local function entry(id)
  if not slot then return spare end
  if #free == 0 and used >= ENTRIES - 1 then sweep() end
  local index = table.remove(free)
  if not index then
    index = math.min(used, ENTRIES - 1)
    used = index + 1
  end
  local it = slot.entries[index]
  it.id = index == ENTRIES - 1 and -1 or id
  slot.used = math.max(slot.used, index + 1)
  return it, index
end

local function endpoint(app, id, host, port, weight)
  local e = endpoints[id]
  if not e then
    e = {id = id, host = host, length = #host, port = port, fails = 0, since = 0, down = 0, current = 0}
    e.entry, e.index = entry(id)
    e.own = e.index ~= nil and e.index < ENTRIES - 1
    if e.own then endpoints[id] = e end
  end
  e.app, e.weight = app, weight
  return e
end

-- is_fed reports whether the dictionary has a table. After nginx was replaced by a new one, the old one's workers have a dictionary of
-- their own that is no longer fed: they read the file.
local function is_fed(epoch) return (dict:get("epoch") or 0) >= epoch end

local function read_table(epoch, each)
  local data, err = read_file(dir .. "/endpoints")
  local at
  if data then at, err = parse(data, each) end
  if at and at >= epoch then return data end
  if slot then slot.failed = epoch end
  error("no table of endpoints as of " .. epoch .. ": " .. (err or "the file is older"))
end

-- line_of returns an app's line of the table in effect.
local function line_of(app, epoch)
  if is_fed(epoch) then return dict:get("app:" .. app) end
  local found
  read_table(epoch, function(name, line) if name == app then found = line end end)
  return found
end

-- owner returns the app with a host of the table in effect.
local function owner(host, epoch)
  if is_fed(epoch) then return dict:get("host:" .. host) end
  if not (filed and filed.epoch == epoch) then
    local its = {}
    for name, app in each_host(hosts_in(read_table(epoch, function() end)) or "") do its[name] = app end
    filed = {epoch = epoch, hosts = its}
  end
  return filed.hosts[host]
end

-- find looks for the app of a host, and keeps it for requests to come. As in nginx, the host itself comes before *.domain, and a longer
-- domain before a shorter one.
local function find(host, epoch)
  local app, dot = nil, 0
  if #host <= LONGEST then app = owner(host, epoch) end
  while not app do
    dot = #host <= LONGEST and host:find(".", dot + 1, true)
    if not dot then return "" end
    app = owner("*" .. host:sub(dot), epoch)
  end
  local it = hosts[host]
  if not it then
    if known >= HOSTS then hosts, known = {}, 0 end
    it, known = {}, known + 1
    hosts[host] = it
  end
  it.app, it.epoch = app, epoch
  return app
end

-- app returns the app of a request; empty if none has its host.
function M.app()
  local host, epoch = ngx.var.host, board.epoch
  local it = hosts[host]
  if it and it.epoch == epoch then return it.app end
  return find(host, epoch)
end

-- load reads an app's endpoints. Those that stay keep their failures and their turn.
local function load(app, epoch)
  local line = line_of(app, epoch)
  local old = apps[app]
  if old and old.line == line then
    old.epoch = epoch
    return old
  end
  local a = {epoch = epoch, line = line, n = 0, even = true, turn = old and old.turn or math.random(0, 1023), list = {}}
  a.token = (line or ""):match("^ count=(%S+)")
  local stays = {}
  for id, host, port, weight in (line or ""):gmatch(" (%d+),([^,]+),(%d+),(%d+)") do
    local e = endpoint(app, tonumber(id), host, tonumber(port), tonumber(weight))
    stays[e] = true
    a.n = a.n + 1
    a.list[a.n] = e
    if e.weight ~= a.list[1].weight then a.even = false end
  end
  apps[app] = a
  for _, e in ipairs(old and old.list or {}) do
    if not stays[e] then
      e.app = nil
      release(e)
    end
  end
  if slot then slot.epoch, slot.failed = epoch, 0 end
  return a
end

-- usable reports whether an endpoint may get a request. After its time away one request tries it.
local function usable(e)
  if e.down == 0 then return true end
  local now = ngx.now()
  if e.down > now then return false end
  e.down = now + FAIL_TIMEOUT
  return true
end

-- weighted is the smooth weighted round robin of nginx.
local function weighted(a, without)
  local best, total = nil, 0
  for i = 1, a.n do
    local e = a.list[i]
    if not (without and without[e]) and (e.down == 0 or usable(e)) then
      e.current = e.current + e.weight
      total = total + e.weight
      if not best or e.current > best.current then best = e end
    end
  end
  if best then best.current = best.current - total end
  return best
end

-- choose returns the endpoint whose turn it is. If all have failed, that counts for nothing.
local function choose(a, without)
  local n, list = a.n, a.list
  if a.even then
    for _ = 1, n do
      local turn = a.turn % n + 1
      a.turn = turn
      local e = list[turn]
      if (e.down == 0 or usable(e)) and not (without and without[e]) then return e end
    end
  else
    local e = weighted(a, without)
    if e then return e end
  end
  if n == 0 then return nil end
  a.turn = a.turn % n + 1
  return list[a.turn]
end

local function failed(e)
  local now = ngx.now()
  if now - e.since > FAIL_TIMEOUT then e.since, e.fails = now, 0 end
  e.fails = e.fails + 1
  if e.fails >= MAX_FAILS then e.down = now + FAIL_TIMEOUT end
end

local function uncount(e, stream)
  local it = e.entry
  if stream then it.streams = it.streams - 1 else it.requests = it.requests - 1 end
  if not e.app then release(e) end
end

-- tally counts a response of an endpoint of an app that asks for that, in the dictionary: all workers count together, and a reload
-- keeps it. Bucket b is for those whose header came within 2^b ms.
local function tally(e, status)
  local a = e.app and apps[e.app]
  if not (a and a.token) then return end
  local bucket, seconds = 0, tonumber((ngx.var.upstream_header_time or ""):match("([%d.]+)$")) or 0
  while bucket < BUCKETS - 1 and seconds * 1000 > 2 ^ bucket do bucket = bucket + 1 end
  local key = string.format("count:%s:%.0f:", a.token, e.id) -- an ID has more digits than .. writes
  dict:incr(key .. bucket, 1, 0, COUNTED)
  if status >= 500 then dict:incr(key .. "errors", 1, 0, COUNTED) end
end

-- again: nginx asks for another endpoint, because a request was not sent or may be sent twice.
local function again(r, e, stream)
  failed(e)
  tally(e, 502)
  uncount(e, stream)
  local list = tried[r] or {}
  list[e] = true
  tried[r] = list
  return list
end

-- close asks the client not to send another request on its connection. nginx would close it while one may be on its way, and a POST
-- that meets that is lost.
local function close(request)
  C.ngx_http_lua_ffi_set_resp_header(request, "Connection", 10, 0, "close", 5, nil, 0, 1, errmsg)
end

-- fail ends a request that cannot be sent: see unavailable.
local function fail(r, app)
  missing[r] = app
  return ngx.exit(ngx.ERROR)
end

-- pick chooses the endpoint of a request to an app; "" is none. A stream is a websocket or the like, which ends when its instance does. There is no loop in
-- it, so that LuaJIT compiles it as a whole.
local function pick(app, stream)
  local request = get_request()
  local r = tonumber(cast(address_of, request))
  local map_of = stream and streams or requests
  local without = tried[r]
  local was = map_of[r]
  if was then
    map_of[r] = nil
    without = again(r, was, stream)
  end
  if app == "" then return fail(r, app) end
  local epoch = board.epoch
  local a = apps[app]
  if not a or a.epoch ~= epoch then a = load(app, epoch) end
  local e
  if a.even and a.n > 0 and not without then
    local turn = a.turn % a.n + 1
    e = a.list[turn]
    if e.down == 0 then a.turn = turn else e = choose(a) end
  else
    e = choose(a, without)
  end
  if not e then return fail(r, app) end
  if closing[0] ~= 0 and not stream then close(request) end
  local it = e.entry
  if stream then it.streams = it.streams + 1 else it.requests = it.requests + 1 end
  if C.ngx_http_lua_ffi_balancer_set_current_peer(request, e.host, e.length, e.port, errmsg) ~= 0 then
    uncount(e, stream)
    error("endpoint " .. e.host .. ":" .. e.port .. " of " .. app .. ": " .. ffi.string(errmsg[0]))
  end
  if board.epoch ~= epoch then -- another table came, which may not have it
    uncount(e, stream)
    return pick(app, stream)
  end
  map_of[r] = e
  if not without and a.n > 1 then C.ngx_http_lua_ffi_balancer_set_more_tries(request, a.n - 1, errmsg) end
end
M.pick = pick

-- reached reports whether the last endpoint that was tried has answered.
local function reached()
  local times = ngx.var.upstream_header_time
  return times ~= nil and times:sub(-1) ~= "-"
end

-- done is called at the end of each request.
function M.done()
  local request = get_request()
  local r = tonumber(cast(address_of, request))
  local e, stream = requests[r], false
  if e then
    requests[r] = nil
  else
    e, stream = streams[r], true
    if not e then
      missing[r] = nil
      return
    end
    streams[r] = nil
  end
  if tried[r] then tried[r] = nil end
  local status = C.ngx_http_lua_ffi_get_resp_status(request)
  if (status == 502 or status == 504) and not reached() then
    failed(e)
  elseif e.fails ~= 0 and status ~= 499 then
    e.fails, e.down = 0, 0
  end
  if not stream then tally(e, status) end
  uncount(e, stream)
end

-- unavailable answers where no instance took a request.
function M.unavailable()
  local app = missing[tonumber(cast(address_of, get_request()))]
  if not app then return ngx.exit(500) end
  if app == "" then return ngx.exec("@unknown") end
  ngx.status = 503
  ngx.header["Retry-After"] = "5"
  ngx.header["Content-Type"] = "text/html"
  ngx.print("<!DOCTYPE html><title>503</title><h1>", app, " is not available</h1><p>None of its instances is healthy now. Try again in a moment.</p>\n")
end

local function body()
  ngx.req.read_body()
  local data = ngx.req.get_body_data()
  if data then return data end
  local file = ngx.req.get_body_file()
  return file and read_file(file) or ""
end

-- counts answers with the counts of endpoints, a line each: its ID, the errors, and the responses by bucket.
local function counts(token, ids)
  for id in ids:gmatch("%d+") do
    local key = "count:" .. token .. ":" .. id .. ":"
    local line = {id, dict:get(key .. "errors") or 0}
    for b = 0, BUCKETS - 1 do line[#line + 1] = dict:get(key .. b) or 0 end
    ngx.print(table.concat(line, " "), "\n")
  end
end

-- feed takes a table of the router, and answers with the epoch in effect.
function M.feed()
  ngx.header["Content-Type"] = "text/plain"
  local token, ids = ngx.var.arg_token, ngx.var.arg_ids
  if token and ids then return counts(token, ids) end
  if ngx.req.get_method() == "PUT" then
    local data = body()
    local epoch = tonumber(data:match("^fleet%-endpoints 1 (%d+)\n"))
    if epoch and epoch < board.epoch then
      ngx.status = 409
      ngx.print("the table is of ", epoch, ", this nginx serves ", board.epoch)
      return
    end
    local ok, err = store(data)
    if not ok then
      ngx.status = 507
      ngx.print("the table is not taken: ", err)
      return
    end
    board.epoch = ok
  end
  ngx.print(string.format("%.0f %.0f\n", dict:get("epoch") or 0, board.epoch))
end

return M
