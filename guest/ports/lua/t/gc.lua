-- Garbage collection under stress: much garbage, weak tables, finalizers, both modes.
local function churn(n)
  local keep = {}
  for i = 1, n do
    local t = { i, tostring(i), { i } }
    keep[i % 100 + 1] = t
    t.self = t
  end
  local s = 0
  for _, t in ipairs(keep) do s = s + t[1] + #t[2] + t[3][1] end
  return s
end
print(churn(60000))
collectgarbage()
local before = collectgarbage("count")
for _ = 1, 5 do churn(20000) end
collectgarbage()
print(collectgarbage("count") - before < 100)

local weak = setmetatable({}, { __mode = "v" })
local ephemeron = setmetatable({}, { __mode = "k" })
local strong = {}
for i = 1, 1000 do
  local o = { i }
  weak[i] = o
  ephemeron[o] = { o }
  if i % 10 == 0 then strong[#strong + 1] = o end
end
collectgarbage()
local nv, nk = 0, 0
for _ in pairs(weak) do nv = nv + 1 end
for _ in pairs(ephemeron) do nk = nk + 1 end
print(nv, nk, #strong)

local finalized = 0
for i = 1, 1000 do setmetatable({}, { __gc = function() finalized = finalized + 1 end }) end
collectgarbage()
print(finalized)
local phoenix
do
  local o = setmetatable({ name = "phoenix" }, { __gc = function(x) phoenix = x end })
  o = nil
end
collectgarbage()
print(phoenix and phoenix.name)

for _, mode in ipairs { "generational", "incremental" } do
  collectgarbage(mode)
  print(mode, churn(20000))
end
collectgarbage("stop")
churn(1000)
print(collectgarbage("isrunning"))
collectgarbage("restart")
print(collectgarbage("isrunning"), collectgarbage("step", 10000))

-- Large blocks come and go: the allocator must give them back.
local total = 0
for i = 1, 200 do
  local s = ("x"):rep(500000 + i)
  total = total + #s
end
print(total)
local list
for i = 1, 200000 do list = { next = list, v = i } end
local n, sum = 0, 0
while list do n, sum, list = n + 1, sum + list.v, list.next end
print(n, sum)
