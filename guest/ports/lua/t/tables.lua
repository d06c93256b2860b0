-- Tables: arrays and hashes that grow and shrink, sort, metatables, move, pack, next while clearing.
local t = {}
for i = 1, 100000 do t[i] = (i * 7919) % 100003 end
table.sort(t)
local ok = true
for i = 2, #t do ok = ok and t[i - 1] <= t[i] end
print(#t, ok, t[1], t[50000], t[100000])
for i = 1, 99990 do table.remove(t) end
print(#t, table.concat(t, ","))
local h = {}
for i = 1, 50000 do h["k" .. i] = i h[i + 0.5] = i h[-i] = i end
local n, sum = 0, 0
for k, v in pairs(h) do n, sum = n + 1, sum + v end
print(n, sum)
for k in pairs(h) do h[k] = nil end
print(next(h))
print(table.unpack({ 1, nil, 3 }, 1, 3))
print(select("#", table.unpack({}, 1, 100)), select(-1, 1, 2, 3), table.pack(nil, nil).n)
print(table.concat(table.move({ 1, 2, 3, 4, 5 }, 2, 5, 1), ","), table.concat(table.move({ 1, 2, 3 }, 1, 3, 3), ","))
local l = { 1, 2, 3 }
table.insert(l, 2, "x") table.insert(l, "end")
print(table.concat(l, " "), table.remove(l, 1), table.remove(l, 1), #l)
print(pcall(table.insert, l, 10, 1), pcall(table.concat, { {}, }), pcall(table.sort, { 3, 1, "x" }))
print(pcall(table.sort, { 5, 3, 4, 1, 2, 9, 8, 7, 6, 0 }, function() return true end))
local V = {}
V.__index = V
V.__add = function(a, b) return setmetatable({ x = a.x + b.x }, V) end
V.__eq = function(a, b) return a.x == b.x end
V.__lt = function(a, b) return a.x < b.x end
V.__le = function(a, b) return a.x <= b.x end
V.__concat = function(a, b) return "V" .. (type(a) == "table" and a.x or a) .. (type(b) == "table" and b.x or b) end
V.__len = function(a) return a.x end
V.__call = function(self, y) return self.x * y end
V.__tostring = function(a) return "V(" .. a.x .. ")" end
V.__unm = function(a) return setmetatable({ x = -a.x }, V) end
V.__idiv = function(a, b) return "idiv" end
V.__band = function() return "band" end
V.__name = "Vector"
local a, b = setmetatable({ x = 3 }, V), setmetatable({ x = 4 }, V)
print(tostring(a + b), a == b, a < b, a <= b, a .. b, a .. "s", #a, a(10), tostring(-a), a // b, a & 1)
local log = {}
local proxy = setmetatable({}, { __index = function(_, k) log[#log + 1] = "get " .. k return k .. "!" end,
  __newindex = function(p, k, v) log[#log + 1] = "set " .. k rawset(p, k, v) end, __pairs = function() return function(_, k) if not k then return 1, "only" end end, nil, nil end })
proxy.a = 1
print(proxy.a, proxy.b, rawget(proxy, "b"), table.concat(log, ";"))
for k, v in pairs(proxy) do print(k, v) end
print(getmetatable("").__index == string, getmetatable(setmetatable({}, { __metatable = "locked" })), pcall(setmetatable, setmetatable({}, { __metatable = 1 }), {}))
print(#"abc", rawlen({ 1, 2 }), rawequal(a, a), next({}, nil), type(next), pcall(next, {}, "nokey"))
print(pcall(function() local t = {} t[nil] = 1 end), pcall(function() local t = {} t[0 / 0] = 1 end), ({})[nil])
local grid = {}
for y = 1, 30 do grid[y] = {} for x = 1, 60 do grid[y][x] = (x * y + x) % 5 == 0 and "#" or "." end end
for _ = 1, 20 do -- life
  local g = {}
  for y = 1, 30 do g[y] = {} for x = 1, 60 do
    local c = 0
    for dy = -1, 1 do for dx = -1, 1 do if (dx ~= 0 or dy ~= 0) and (grid[y + dy] or {})[x + dx] == "#" then c = c + 1 end end end
    g[y][x] = (c == 3 or c == 2 and grid[y][x] == "#") and "#" or "."
  end end
  grid = g
end
for y = 1, 30 do print(table.concat(grid[y])) end
