-- Ruby's methods, as far as the code of `ruby` filters uses them. What Ruby refuses is refused here.
local env = ...
local ruby = env.ruby
local type, error, tostring, ipairs, next = env.type, env.error, env.tostring, env.ipairs, env.next
local math, utf8, string, null = env.math, env.utf8, env.string, env.null
local is_array, array = env.is_array, env.array

local function kind(v)
  if v == nil or v == null then return "nil" end
  return type(v)
end
local function refuse(method, v) error("a " .. kind(v) .. " has no `" .. method .. "`", 3) end
local function some(v) if v == null then return nil end return v end

function ruby.add(a, b)
  local ka, kb = kind(a), kind(b)
  if ka == "number" and kb == "number" then return a + b end
  if ka == "string" and kb == "string" then return a .. b end
  if ka == "userdata" then return a + b end
  if ka == "table" and kb == "table" then
    local t = {}
    for i = 1, #a do t[i] = a[i] end
    for i = 1, #b do t[#t + 1] = b[i] end
    return array(t)
  end
  error("a " .. ka .. " and a " .. kb .. " cannot be added", 2)
end
local function numbers(a, b, what)
  if type(a) ~= "number" or type(b) ~= "number" then
    error("a " .. kind(a) .. " and a " .. kind(b) .. " cannot be " .. what, 3)
  end
end
function ruby.sub(a, b)
  if kind(a) == "userdata" then return a - b end
  numbers(a, b, "subtracted")
  return a - b
end
function ruby.mul(a, b)
  if kind(a) == "string" and type(b) == "number" then return string.rep(a, math.floor(b)) end
  numbers(a, b, "multiplied")
  return a * b
end
function ruby.div(a, b)
  numbers(a, b, "divided")
  if math.type(a) == "integer" and math.type(b) == "integer" then
    if b == 0 then error("divided by 0", 2) end
    return a // b
  end
  return a / b
end
function ruby.mod(a, b)
  numbers(a, b, "divided")
  if b == 0 and math.type(a) == "integer" and math.type(b) == "integer" then
    error("divided by 0", 2)
  end
  return a % b
end
function ruby.pow(a, b)
  numbers(a, b, "raised")
  local result = a ^ b
  if math.type(a) == "integer" and math.type(b) == "integer" and b >= 0 then
    return math.tointeger(result) or result
  end
  return result
end
function ruby.less(a, b)
  if kind(a) == kind(b) and kind(a) ~= "nil" and kind(a) ~= "table" then return a < b end
  error("a " .. kind(a) .. " and a " .. kind(b) .. " cannot be compared", 2)
end
function ruby.at_most(a, b)
  if kind(a) == kind(b) and kind(a) ~= "nil" and kind(a) ~= "table" then return a <= b end
  error("a " .. kind(a) .. " and a " .. kind(b) .. " cannot be compared", 2)
end

-- `x[i]` and `x[i, n]`.
function ruby.at(x, i, n)
  local k = kind(x)
  if k == "table" then
    if is_array(x) then
      if type(i) ~= "number" then error("the place of an element is a number", 2) end
      if i < 0 then i = i + #x end
      if n then
        local t = {}
        for at = i + 1, math.min(i + n, #x) do t[#t + 1] = x[at] end
        return array(t)
      end
      return some(x[i + 1])
    end
    return some(x[i])
  elseif k == "string" then
    if type(i) == "string" then
      if string.find(x, i, 1, true) then return i end
      return nil
    end
    local length = utf8.len(x) or #x
    if i < 0 then i = i + length end
    if i < 0 or i > length or (not n and i == length) then return nil end
    local last = math.min(i + (n or 1), length)
    if not utf8.len(x) then return string.sub(x, i + 1, last) end
    return string.sub(x, utf8.offset(x, i + 1), utf8.offset(x, last + 1) - 1)
  end
  refuse("[]", x)
end
-- `x[i..j]`, and `x[i...j]` with `exclusive`.
function ruby.range(x, i, j, exclusive)
  local length = ruby.size(x)
  if i < 0 then i = i + length end
  if j < 0 then j = j + length end
  if exclusive then j = j - 1 end
  return ruby.at(x, i, math.max(j - i + 1, 0))
end
function ruby.size(x)
  local k = kind(x)
  if k == "string" then return utf8.len(x) or #x end
  if k ~= "table" then refuse("size", x) end
  if is_array(x) then return #x end
  local n = 0
  for _ in next, x do n = n + 1 end
  return n
end
function ruby.is_empty(x)
  local k = kind(x)
  if k == "string" then return x == "" end
  if k == "table" then return next(x) == nil end
  refuse("empty?", x)
end
function ruby.includes(x, y)
  local k = kind(x)
  if k == "string" then
    if type(y) ~= "string" then refuse("to_str", y) end
    return string.find(x, y, 1, true) ~= nil
  end
  if k ~= "table" then refuse("include?", x) end
  if is_array(x) then
    for i = 1, #x do if x[i] == y then return true end end
    return false
  end
  return x[y] ~= nil
end
function ruby.has_key(x, y)
  if kind(x) ~= "table" then refuse("key?", x) end
  return x[y] ~= nil
end
function ruby.starts_with(x, y)
  if type(x) ~= "string" then refuse("start_with?", x) end
  return string.sub(x, 1, #y) == y
end
function ruby.ends_with(x, y)
  if type(x) ~= "string" then refuse("end_with?", x) end
  return y == "" or string.sub(x, -#y) == y
end
local function texts(name, f)
  ruby[name] = function(x, ...)
    if type(x) ~= "string" then refuse(name, x) end
    return f(x, ...)
  end
end
texts("strip", function(x) return (string.gsub(string.gsub(x, "^[%s%z]+", ""), "[%s%z]+$", "")) end)
texts("lstrip", function(x) return (string.gsub(x, "^[%s%z]+", "")) end)
texts("rstrip", function(x) return (string.gsub(x, "[%s%z]+$", "")) end)
texts("chomp", function(x) return (string.gsub(x, "\r?\n$", "")) end)
texts("reverse", function(x)
  if not utf8.len(x) then return string.reverse(x) end
  local t = {}
  for _, c in utf8.codes(x) do t[#t + 1] = utf8.char(c) end
  local r = {}
  for i = #t, 1, -1 do r[#r + 1] = t[i] end
  return env.table.concat(r)
end)
local function dropped_end(t)
  while #t > 0 and t[#t] == "" do t[#t] = nil end
  return array(t)
end
-- As Ruby: blanks without an argument, and no empty texts at the end.
texts("split", function(x, by, most)
  if by == nil or by == " " then
    local t = {}
    for word in string.gmatch(x, "%S+") do t[#t + 1] = word end
    return array(t)
  end
  if x == "" then return array {} end
  if most and most > 0 then
    local t = {}
    local from = 1
    while #t < most - 1 do
      local a, b = string.find(x, by, from, true)
      if not a then break end
      t[#t + 1] = string.sub(x, from, a - 1)
      from = b + 1
    end
    t[#t + 1] = string.sub(x, from)
    return array(t)
  end
  return dropped_end(string.split(x, by))
end)
texts("split_re", function(x, by)
  if x == "" then return array {} end
  return dropped_end(env.re.split(x, by))
end)
texts("gsub", function(x, from, by)
  local t = string.split(x, from)
  return env.table.concat(t, by)
end)
texts("sub_first", function(x, from, by)
  local a, b = string.find(x, from, 1, true)
  if not a then return x end
  return string.sub(x, 1, a - 1) .. by .. string.sub(x, b + 1)
end)
texts("hex", function(x) return env.tonumber(string.match(x, "^0?[xX]?(%x+)") or "0", 16) end)
function ruby.join(x, by)
  if kind(x) ~= "table" then refuse("join", x) end
  local t = {}
  for i = 1, #x do
    local v = x[i]
    if kind(v) == "table" then v = ruby.join(v, by) end
    t[i] = ruby.to_s(v)
  end
  return env.table.concat(t, by or "")
end
function ruby.first(x)
  if kind(x) ~= "table" then refuse("first", x) end
  return some(x[1])
end
function ruby.last(x)
  if kind(x) ~= "table" then refuse("last", x) end
  return some(x[#x])
end
-- `a <=> b` of Ruby's `sort`.
function ruby.sort(x)
  local t = {}
  for i = 1, #x do t[i] = x[i] end
  env.table.sort(t, ruby.less)
  return array(t)
end
function ruby.uniq(x)
  local seen, t = {}, {}
  for i = 1, #x do
    local v = x[i]
    if not seen[v] then
      seen[v] = true
      t[#t + 1] = v
    end
  end
  return array(t)
end
function ruby.compact(x)
  local t = {}
  for i = 1, #x do if x[i] ~= null then t[#t + 1] = x[i] end end
  return array(t)
end
function ruby.reversed(x)
  if type(x) == "string" then return ruby.reverse(x) end
  local t = {}
  for i = #x, 1, -1 do t[#t + 1] = x[i] end
  return array(t)
end
function ruby.flatten(x)
  local t = {}
  local function walk(list)
    for i = 1, #list do
      if kind(list[i]) == "table" and is_array(list[i]) then walk(list[i]) else t[#t + 1] = list[i] end
    end
  end
  walk(x)
  return array(t)
end
function ruby.sum(x)
  local n = 0
  for i = 1, #x do n = ruby.add(n, x[i]) end
  return n
end
function ruby.least(x)
  local least
  for i = 1, #x do if least == nil or ruby.less(x[i], least) then least = x[i] end end
  return least
end
function ruby.most(x)
  local most
  for i = 1, #x do if most == nil or ruby.less(most, x[i]) then most = x[i] end end
  return most
end
function ruby.push(x, v)
  if kind(x) == "string" then return x .. v end
  x[#x + 1] = v == nil and null or v
  return x
end
function ruby.delete(x, name)
  local v = x[name]
  x[name] = nil
  return some(v)
end
function ruby.merge(a, b)
  local t = {}
  for k, v in next, a do t[k] = v end
  for k, v in next, b do t[k] = v end
  return t
end
function ruby.keys(x)
  if kind(x) ~= "table" then refuse("keys", x) end
  return array(env.keys(x))
end
function ruby.values(x)
  local t = {}
  for _, k in ipairs(env.keys(x)) do t[#t + 1] = x[k] end
  return array(t)
end
-- Away from zero at a half, as Ruby does.
function ruby.round(x, digits)
  if type(x) ~= "number" then refuse("round", x) end
  if math.type(x) == "integer" then return x end
  local scale = 10.0 ^ (digits or 0)
  local y = math.abs(x) * scale
  local r = math.floor(y + 0.5)
  -- What is a half only because of the multiplication is none.
  if r - y == 0.5 and math.abs(x) < (r - 0.5) / scale then r = r - 1 end
  if x < 0 then r = -r end
  if (digits or 0) > 0 then return r / scale end
  return math.tointeger(r) or r
end
function ruby.floor(x)
  if type(x) ~= "number" then refuse("floor", x) end
  return math.floor(x)
end
function ruby.ceil(x)
  if type(x) ~= "number" then refuse("ceil", x) end
  return math.ceil(x)
end
function ruby.abs(x)
  if type(x) ~= "number" then refuse("abs", x) end
  return math.abs(x)
end
-- `is_a?(Hash)` and the like.
function ruby.is_a(x, class)
  local k = kind(x)
  if class == "String" then return k == "string" end
  if class == "Integer" or class == "Fixnum" then return math.type(x) == "integer" end
  if class == "Float" then return math.type(x) == "float" end
  if class == "Numeric" then return k == "number" end
  if class == "Hash" then return k == "table" and not is_array(x) end
  if class == "Array" then return k == "table" and is_array(x) end
  if class == "NilClass" then return k == "nil" end
  if class == "TrueClass" then return x == true end
  if class == "FalseClass" then return x == false end
  return k == "userdata" and x ~= null
end
function ruby.json_parse(x)
  if type(x) ~= "string" then refuse("to_str", x) end
  local v, fault = env.json_decode(x)
  if fault then error(fault, 2) end
  return v
end
-- More of what blocks and conditions need.
function ruby.fdiv(a, b)
  numbers(a, b, "divided")
  return a / b
end
function ruby.equal(a, b)
  if kind(a) ~= "table" or kind(b) ~= "table" then return some(a) == some(b) end
  if is_array(a) ~= is_array(b) then return false end
  for k, v in next, a do if not ruby.equal(v, b[k]) then return false end end
  for k in next, b do if a[k] == nil then return false end end
  return true
end
function ruby.within(x, least, most, exclusive)
  if kind(x) ~= kind(least) then return false end
  if not ruby.at_most(least, x) then return false end
  if exclusive then return ruby.less(x, most) end
  return ruby.at_most(x, most)
end
function ruby.is_list(x) return kind(x) == "table" end
function ruby.put(x, i, v)
  if kind(x) ~= "table" then refuse("[]=", x) end
  if v == nil then v = null end
  if type(i) == "number" and (is_array(x) or next(x) == nil) then
    if i < 0 then i = i + #x end
    if i > #x + 10000 then error("index " .. i .. " is too far", 2) end
    for at = #x + 1, i do x[at] = null end
    x[i + 1] = v
  else
    x[i] = v
  end
end
function ruby.push_at(x, i, v) ruby.put(x, i, ruby.push(ruby.at(x, i), v)) end
function ruby.copy(x)
  if kind(x) ~= "table" then return x end
  local t = ruby.merge(x, {})
  if is_array(x) then return array(t) end
  return t
end
function ruby.fetch(x, i, ...)
  local v = ruby.at(x, i)
  if v == nil then
    if env.select("#", ...) == 0 then error("key not found: " .. ruby.to_s(i), 2) end
    return (...)
  end
  return v
end
function ruby.dig(x, ...)
  for _, i in ipairs({ ... }) do
    if x == nil then return nil end
    x = ruby.at(x, i)
  end
  return x
end
function ruby.index(x, y)
  if type(x) ~= "string" then refuse("index", x) end
  local a = string.find(x, y, 1, true)
  if not a then return nil end
  return utf8.len(x) and utf8.len(string.sub(x, 1, a - 1)) or a - 1
end
local function checked(x, what, want)
  if kind(x) ~= "table" then refuse(what, x) end
  if is_array(x) ~= want and next(x) ~= nil then
    error("`" .. what .. "` with such names goes through " .. (want and "an array" or "an object"), 3)
  end
end
-- Loops: an array's elements, an object's fields, the event's fields in their order.
function ruby.each_item(x)
  checked(x, "each", true)
  local i = 0
  return function()
    i = i + 1
    if x[i] ~= nil then return i, some(x[i]) end
  end
end
function ruby.each_index(x)
  checked(x, "each_with_index", true)
  local i = -1
  return function()
    i = i + 1
    if x[i + 1] ~= nil then return i, some(x[i + 1]) end
  end
end
local function each_name(names, x)
  local i = 0
  return function()
    i = i + 1
    if names[i] ~= nil then return names[i], some(x[names[i]]) end
  end
end
function ruby.each_pair(x)
  checked(x, "each", false)
  return each_name(env.keys(x), x)
end
function ruby.each_field() return each_name(env.event.names(), env.event.to_table()) end

local function walk(x, f)
  if kind(x) ~= "table" then refuse("each", x) end
  if is_array(x) then
    for i = 1, #x do if f(i, some(x[i]), nil, x[i]) then return end end
  else
    for _, k in ipairs(env.keys(x)) do if f(k, k, some(x[k]), x[k]) then return end end
  end
end
function ruby.map(x, f)
  local t = {}
  walk(x, function(_, a, b)
    local v = f(a, b)
    if v == nil then v = null end
    t[#t + 1] = v
  end)
  return array(t)
end
local function chosen(x, f, want)
  local is_list = is_array(x)
  local t = {}
  walk(x, function(k, a, b, raw)
    if (f(a, b) and true or false) == want then
      if is_list then t[#t + 1] = raw else t[k] = raw end
    end
  end)
  if is_list then return array(t) end
  return t
end
function ruby.select(x, f) return chosen(x, f, true) end
function ruby.reject(x, f) return chosen(x, f, false) end
function ruby.any(x, f)
  local found = false
  walk(x, function(_, a, b)
    if f(a, b) then found = true end
    return found
  end)
  return found
end
function ruby.all(x, f)
  return not ruby.any(x, function(a, b) return not f(a, b) end)
end
function ruby.find(x, f)
  local found
  walk(x, function(_, a, b)
    if f(a, b) then
      found = a
      return true
    end
  end)
  return found
end
function ruby.sort_by(x, f)
  checked(x, "sort_by", true)
  local t = {}
  for i = 1, #x do t[i] = { f(some(x[i])), x[i] } end
  env.table.sort(t, function(a, b) return ruby.less(a[1], b[1]) end)
  for i = 1, #t do t[i] = t[i][2] end
  return array(t)
end

-- Regular expressions. The groups of the last match stay for `$1`.
local last
function ruby.match(x, pattern)
  if x == nil then
    last = nil
    return nil
  end
  if type(x) ~= "string" then refuse("match", x) end
  last = env.re.groups(x, pattern)
  return last
end
-- What is no text matches nothing.
function ruby.test(x, pattern)
  if type(x) ~= "string" then x = nil end
  return ruby.match(x, pattern) ~= nil
end
function ruby.group(i)
  if last == nil then return nil end
  return some(last[i + 1])
end
function ruby.match_at(x, pattern, i)
  local groups = ruby.match(x, pattern)
  return groups and some(groups[i + 1])
end
texts("gsub_re", function(x, pattern, by) return env.re.gsub(x, pattern, by) end)
texts("sub_re", function(x, pattern, by) return env.re.sub(x, pattern, by) end)
texts("scan", function(x, pattern) return env.re.scan(x, pattern) end)

function ruby.timestamp(x)
  if kind(x) == "userdata" then return x end
  if type(x) ~= "string" then refuse("to_time", x) end
  return env.time.parse(x) or error("no time: " .. x, 2)
end
function ruby.integer(x)
  local n = type(x) == "string" and string.match(x, "^%s*([+-]?%d+)%s*$") or x
  if type(n) == "string" then return ruby.to_i(n) end
  if type(n) == "number" then return ruby.to_i(n) end
  error("no whole number: " .. ruby.to_s(x), 2)
end
function ruby.float(x)
  if type(x) == "number" then return x + 0.0 end
  local n = type(x) == "string" and string.match(x, "^%s*([+-]?%d+%.?%d*[eE]?[+-]?%d*)%s*$")
  if n and env.tonumber(n) then return ruby.to_f(n) end
  error("no number: " .. ruby.to_s(x), 2)
end
-- `sprintf`: of the signs of C those that both have, with what Ruby makes of the values.
function ruby.format(text, ...)
  local values, at = { ... }, 0
  return (string.gsub(text, "%%([-+ 0#]*%d*%.?%d*)(.?)", function(how, sign)
    if sign == "%" and how == "" then return "%" end
    at = at + 1
    local v = values[at]
    if sign == "s" then
      v = ruby.to_s(v)
    elseif string.find(sign, "^[dixXo]$") then
      v = math.floor(ruby.integer(v))
      if sign == "i" then sign = "d" end
      if v < 0 and sign ~= "d" then error("a negative number in this base is not supported", 2) end
    elseif string.find(sign, "^[feEgG]$") then
      v = ruby.float(v)
    else
      error("`%" .. how .. sign .. "` is not supported", 2)
    end
    return string.format("%" .. how .. sign, v)
  end))
end
