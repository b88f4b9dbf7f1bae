-- Programs for LuaJIT's trace compiler: see work.js.
local bit = require("bit")
local ffi = require("ffi")
local parts = {}

function parts.integers()
  local h = 0x1234
  for i = 1, 2000000 do
    h = bit.bxor(bit.rol(h, 5), i)
    if i % 3 == 0 then h = h + 1 end
    h = bit.tobit(h)
  end
  return h
end

function parts.doubles()
  local x, sum = 0.1, 0
  for i = 1, 500000 do
    x = 3.999 * x * (1 - x)
    sum = sum + math.floor(x * 1000) + math.floor(math.sqrt(i))
  end
  return sum
end

function parts.tables()
  local t, n = {}, 0
  for i = 1, 100000 do
    t[i % 1000 + 1] = (t[(i * 7) % 1000 + 1] or 0) + i
    t["k" .. i % 100] = i
  end
  for _, v in pairs(t) do n = (n + v) % 1000003 end
  return n
end

function parts.strings()
  local n, s = 0, {}
  for i = 1, 5000 do s[#s + 1] = ("%d-%x"):format(i, i * 31) end
  local text = table.concat(s, ",")
  for a, b in text:gmatch("(%d+)%-(%x+)") do n = (n + #a * 3 + tonumber(b, 16)) % 1000003 end
  return n
end

ffi.cdef [[ typedef struct { int32_t a; double b; uint8_t c[16]; } thing; int abs(int); size_t strlen(const char *); ]]
function parts.ffi()
  local things, n = ffi.new("thing[100]"), 0LL
  for i = 0, 300000 do
    local t = things[i % 100]
    t.a = t.a + i
    t.b = t.b * 0.5 + i
    t.c[i % 16] = i
    n = n + ffi.C.abs(-i) + t.c[(i * 3) % 16] + math.floor(t.b)
  end
  return tostring(n)
end

function parts.closures()
  local n = 0
  for i = 1, 300 do
    local f = loadstring("local x, s = ..., " .. i .. " for k = 1, 300 do s = (s * 3 + x + k) % 65521 end return s")
    n = (n + f(i) + f(n)) % 1000003
  end
  return n
end

local names, results, rounds, bad = {"integers", "doubles", "tables", "strings", "ffi", "closures"}, {}, 0, ""
local stop = os.time() + tonumber(arg[1] or 0)
repeat
  for _, name in ipairs(names) do
    local got = tostring(parts[name]())
    if results[name] and results[name] ~= got then bad = bad .. name .. " was " .. results[name] .. " and is " .. got .. "\n" end
    results[name] = got
  end
  rounds = rounds + 1
until os.time() >= stop
local out = {}
for _, name in ipairs(names) do out[#out + 1] = name .. "=" .. results[name] end
print(bad .. table.concat(out, " ") .. (bad == "" and " same" or " WRONG"))
