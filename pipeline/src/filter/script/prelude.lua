-- What a script finds around it. Runs once in each virtual machine, before the script; `host` asks the
-- event, `lib` holds the functions that are written in Rust.
local host, lib, array_mark = ...
local ask

-- Lua's own functions that only compute, and whose time and memory are bounded by what the machine
-- counts. Those that loop in C for as long as their arguments say are written anew here or in Rust.
local env = {
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, select = select,
  tonumber = tonumber, type = type, _VERSION = _VERSION,
  math = math, utf8 = utf8,
  pcall = lib.pcall, null = lib.null, array = lib.array, is_array = lib.is_array,
  json_decode = lib.json_decode, json_encode = lib.json_encode,
  url_decode = lib.url_decode, re = lib.re, time = lib.time,
}
env._G = env

local type, select, tostring_raw = type, select, tostring
function env.tostring(value)
  local kind = type(value)
  -- Addresses are nobody's business.
  if kind == "table" or kind == "function" then return kind end
  if value == lib.null then return "null" end
  return tostring_raw(value)
end

-- The methods of texts come from the table that Lua made: it is emptied and filled with what is safe.
local s = string
local keep = { "byte", "char", "format", "len", "lower", "reverse", "sub", "upper" }
local kept = {}
for _, name in ipairs(keep) do kept[name] = s[name] end
for name in pairs(s) do s[name] = nil end
for name, value in pairs(kept) do s[name] = value end
for name, value in pairs(lib.string) do s[name] = value end
env.string = s

local concat, unpack = table.concat, table.unpack
local t = { concat = concat, unpack = unpack }
env.table = t

function t.insert(list, ...)
  local n = #list
  if select("#", ...) == 1 then
    list[n + 1] = (...)
    return
  end
  local at, value = ...
  if at < 1 or at > n + 1 then error("table.insert: position out of bounds", 2) end
  for i = n, at, -1 do list[i + 1] = list[i] end
  list[at] = value
end

function t.remove(list, at)
  local n = #list
  if at == nil then at = n end
  if n == 0 or at < 1 or at > n then return nil end
  local value = list[at]
  for i = at, n do list[i] = list[i + 1] end
  return value
end

-- A merge sort: stable, and no order that a script gives can lead it astray.
function t.sort(list, less)
  less = less or function(a, b) return a < b end
  local n = #list
  local from, to = list, {}
  local width = 1
  while width < n do
    local start = 1
    while start <= n do
      local middle, stop = start + width, start + 2 * width
      if middle > n + 1 then middle = n + 1 end
      if stop > n + 1 then stop = n + 1 end
      local a, b = start, middle
      for i = start, stop - 1 do
        if b >= stop or (a < middle and not less(from[b], from[a])) then
          to[i] = from[a]
          a = a + 1
        else
          to[i] = from[b]
          b = b + 1
        end
      end
      start = stop
    end
    from, to = to, from
    width = width * 2
  end
  if from ~= list then
    for i = 1, n do list[i] = from[i] end
  end
end

-- The names of an object in order, to go through it the same way each time.
function env.keys(object)
  local names = {}
  for name in next, object do names[#names + 1] = name end
  t.sort(names, function(a, b) return env.tostring(a) < env.tostring(b) end)
  return names
end

-- Both `event:get("a")` and `event.get("a")`.
local event = {}
env.event = event
function event.get(self, name)
  if self ~= event then name = self end
  return ask(1, name)
end
function event.set(self, name, value)
  if self ~= event then name, value = self, name end
  return ask(2, name, value)
end
function event.remove(self, name)
  if self ~= event then name = self end
  return ask(3, name)
end
function event.has(self, name)
  if self ~= event then name = self end
  return ask(4, name)
end
function event.tag(self, name)
  if self ~= event then name = self end
  return ask(5, name)
end
function event.untag(self, name)
  if self ~= event then name = self end
  return ask(6, name)
end
function event.cancel() return ask(7) end
function event.to_table() return ask(8) end
function event.names() return ask(9) end
function event.sprintf(self, text)
  if self ~= event then text = self end
  return ask(10, text)
end
function env.emit(fields) return ask(11, fields) end
function env.now() return ask(12) end

local function no_event()
  error("there is no event while the script is loaded", 3)
end
ask = no_event

local main
local function enter(ask_event)
  ask = ask_event
  main(event)
end
local function leave() ask = no_event end
local function set_main(f) main = f end

env.ruby = lib.ruby
return env, enter, leave, set_main
