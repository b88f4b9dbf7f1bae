-- The Lua rows (lua5.4, luajit): closures, tables, strings and floating point. work.lua AMOUNT
local amount = tonumber(arg[1])

local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end

local function queens(n)
  local found, columns, up, down = 0, {}, {}, {}
  local function place(row)
    if row > n then found = found + 1 return end
    for column = 1, n do
      if not columns[column] and not up[row + column] and not down[row - column + n] then
        columns[column], up[row + column], down[row - column + n] = true, true, true
        place(row + 1)
        columns[column], up[row + column], down[row - column + n] = false, false, false
      end
    end
  end
  place(1)
  return found
end

local function sieve(n)
  local flags, count = {}, 0
  for i = 2, n do flags[i] = true end
  for i = 2, n do
    if flags[i] then
      count = count + 1
      for k = i + i, n, i do flags[k] = false end
    end
  end
  return count
end

local function words(n)
  local seen, x = {}, 1
  for _ = 1, n do
    x = (x * 1103 + 12345) % 65536
    local key = "k" .. (x % 997)
    seen[key] = (seen[key] or 0) + 1
  end
  local list = {}
  for key, value in pairs(seen) do list[#list + 1] = key .. value end
  table.sort(list)
  return #table.concat(list, ",") .. list[1]
end

local function tree(depth)
  if depth == 0 then return {} end
  return {tree(depth - 1), tree(depth - 1)}
end

local function count(t) return t[1] and 1 + count(t[1]) + count(t[2]) or 1 end

local function spectral(n)
  local sum = 0.0
  for i = 0, n do
    for j = 0, n do sum = sum + 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1) end
  end
  return string.format("%.9f", sum)
end

for _ = 1, amount do
  print(fib(20), queens(6), sieve(20000), words(10000), count(tree(11)), spectral(120))
end
