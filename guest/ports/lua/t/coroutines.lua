-- Coroutines: generators, producers and consumers, errors inside, closing, deep nesting.
local function gen(n) return coroutine.wrap(function() for i = 1, n do coroutine.yield(i, i * i) end end) end
local s = 0
for i, sq in gen(1000) do s = s + sq - i end
print(s)

local function permutations(a, n)
  n = n or #a
  if n <= 1 then coroutine.yield(table.concat(a, " ")) end
  for i = 1, n do
    a[n], a[i] = a[i], a[n]
    if n > 1 then permutations(a, n - 1) end
    a[n], a[i] = a[i], a[n]
  end
end
local count, last = 0, nil
for p in coroutine.wrap(function() permutations { 1, 2, 3, 4, 5, 6 } end) do count, last = count + 1, p end
print(count, last)

local co = coroutine.create(function(a, b)
  print("start", a, b)
  local c = coroutine.yield(a + b)
  print("got", c)
  local d, e = coroutine.yield(c * 2)
  print("got", d, e)
  return "done", d + e
end)
print(coroutine.status(co), coroutine.resume(co, 1, 10))
print(coroutine.status(co), coroutine.resume(co, "7"))
print(coroutine.status(co), coroutine.resume(co, 3, 4))
print(coroutine.status(co), coroutine.resume(co))

local bad = coroutine.create(function() local x <close> = setmetatable({}, { __close = function(_, e) print("closed", e.code) end }) error({ code = 42 }) end)
local ok, err = coroutine.resume(bad)
print(ok, type(err), err.code, coroutine.status(bad))
print((coroutine.close(bad)))
local sleeping = coroutine.create(function() local x <close> = setmetatable({}, { __close = function() print("closed early") end }) coroutine.yield() end)
coroutine.resume(sleeping)
print(coroutine.close(sleeping), coroutine.status(sleeping))
print(pcall(coroutine.wrap(function() error("wrapped", 0) end)))
print(coroutine.isyieldable(), coroutine.wrap(function() return coroutine.isyieldable() end)())
print(select("#", coroutine.running()), select(2, coroutine.running()))
print(pcall(coroutine.resume, coroutine.running()))

-- A ring of coroutines, each of which passes a token on.
local ring, n = {}, 500
for i = 1, n do
  ring[i] = coroutine.wrap(function(v) while true do v = coroutine.yield(v + 1) end end)
end
local v = 0
for _ = 1, 20 do for i = 1, n do v = ring[i](v) end end
print(v)

-- Nested: each resumes the next; the yield comes back through all of them.
local function nest(d) if d == 0 then coroutine.yield("bottom") return 0 end
  local c = coroutine.wrap(nest)
  local r = c(d - 1)
  coroutine.yield(r)
  return 1 + c()
end
local top = coroutine.wrap(nest)
print(top(100), top())

-- yield across pcall, metamethods and iterators
local mt = setmetatable({}, { __add = function(a, b) return coroutine.yield("add") + b end, __index = function(_, k) return coroutine.yield("index " .. k) end })
local c = coroutine.wrap(function() local r = { pcall(function() return mt + 5 + mt.field end) } return table.unpack(r) end)
print(c()); print(c(10)); print(c(20))
local sorted = coroutine.wrap(function() for k, x in (function() coroutine.yield("iter") return pairs({ 5 }) end)() do coroutine.yield(k .. "=" .. x) end return "end" end)
print(sorted(), sorted(), sorted())
