-- Closures, varargs, goto, errors, tail calls, load.
local function counter() local n = 0 return function() n = n + 1 return n end, function() return n end end
local inc, get = counter()
for _ = 1, 10 do inc() end
print(get(), (counter())())
local fs = {}
for i = 1, 5 do fs[i] = function() i = i + 1 return i end end
print(fs[1](), fs[1](), fs[5](), fs[2]())
local function Y(f) return (function(x) return x(x) end)(function(x) return f(function(...) return x(x)(...) end) end) end
print(Y(function(self) return function(n) return n == 0 and 1 or n * self(n - 1) end end)(20))
local function va(...) local a, b = ... return select("#", ...), a, b, ... end
print(va(), va(nil), va(1, 2, 3), (va(1, 2)))
local function loop(n, acc) if n == 0 then return acc end return loop(n - 1, acc + n) end
print(loop(1000000, 0))
print(select(2, pcall(function() local function f(n) return 1 + f(n + 1) end return f(1) end)):match("stack overflow"))
for i = 1, 3 do for j = 1, 3 do if j == 2 then goto continue end print(i, j) ::continue:: end end
print(pcall(error), pcall(error, nil), pcall(error, "msg", 0), type(select(2, pcall(error, { 1 }))))
print(select(2, pcall(error, "with position")), select(2, pcall(function() error("here") end)))
print(select(2, xpcall(function() local x = nil; return x.y end, function(m) return "handled: " .. m end)))
print(pcall(function() return {} + 1 end), pcall(function() return #5 end), pcall(function() return nil .. "x" end), pcall(function() return 1 < "2" end))
print(xpcall(function() error("e1") end, function(m) error("e2") end))
print(load("return 1 + ...")(41), load("syntax error here"), type(load(function() return nil end)))
local parts = { "return ", "10", " * ", "2" }
print(load(function() return table.remove(parts, 1) end)())
local env = { x = 5 }
print(load("x = x + 1 return x", "chunk", "t", env)(), env.x, x)
print(load(string.dump(function(a) return a * 2 end), "b", "b")(21), (load("\27Lua", "b", "t")))
local order = {}
do
  local a <close> = setmetatable({}, { __close = function() order[#order + 1] = "a" end })
  local b <close> = setmetatable({}, { __close = function() order[#order + 1] = "b" end })
  local c <const> = 7
  order[#order + 1] = c
end
print(table.concat(order, " "))
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
print(fib(27))
local memo = setmetatable({}, { __index = function(t, n) local v = n < 2 and n or t[n - 1] + t[n - 2] t[n] = v return v end })
print(memo[80])
local info = debug.getinfo(fib, "SL")
print(info.what, info.linedefined, info.lastlinedefined, debug.getlocal(fib, 1))
print((debug.traceback("trace", 1):match("^trace\nstack traceback:")))
local lines = 0
debug.sethook(function() lines = lines + 1 end, "l")
for i = 1, 10 do local x = i end
debug.sethook()
print(lines > 10)
print((require "string") == string, package.loaded.math == math, (pcall(require, "no.such.module")))
