-- Pattern matching: classes, captures, anchors, balance, frontier, replacement of every kind.
local text = [[
2024-02-29 12:34:56 INFO  user=alice id=42 msg="all (is (well)) here"
2024-03-01 00:00:01 ERROR user=bob id=-7 msg="no%such%thing"
# comment = ignored
key = value with spaces   
]]
for line in text:gmatch("[^\n]+") do
  local y, m, d, time, level = line:match("^(%d+)%-(%d+)%-(%d+)%s+([%d:]+)%s+(%u+)")
  print(y, m, d, time, level)
  for k, v in line:gmatch("(%w+)=(%-?%w+)") do print("", k, v) end
  print("", line:match('msg=(%b"")'), line:match("%b()"))
  print("", line:match("^([%w_]+)%s*=%s*(.-)%s*$"))
end
print(("THE (quick) fox"):find("%((%a+)%)"))
print(("hello world"):gsub("o", "0", 1))
print(("hello world"):gsub("(%w+)", "<%1:%0>"))
print(("$name is $age years, $none"):gsub("%$(%w+)", { name = "Lua", age = 30 }))
print(("4 8 15"):gsub("%d+", function(n) return n % 2 == 0 and n * 2 or nil end))
print(("abc"):gsub("", "-"))
print(("THE (quick) fox"):gsub("%f[%a]%a+", string.lower))
print(("  trim me  "):match("^%s*(.-)%s*$") .. "|")
print(("key=val"):match("()=()"))
print(("aaa"):find("a-", 2), ("aaa"):match("^(a-)$"), ("[[x]]"):match("%[(%b[])%]"))
print(("\0a\0b"):find("\0b"), #("\0a\0b"):gsub("%z", "0"), ("a.b-c"):gsub("%p", "%%%0"))
print(pcall(string.gsub, "x", "(", ""), pcall(string.match, "x", "[a"), pcall(string.gsub, "x", "x", "%2"))
print(pcall(string.rep, "x", 1 << 62))
print(("x"):rep(40):match(("x?"):rep(40) .. ("x"):rep(20)) ~= nil)
local n = 0
for a, b in ("k1=v1;k2=v2;k3=v3"):gmatch("(%w+)=(%w+)") do n = n + #a + #b end
print(n)
local csv = 'a,"b ""quoted"" c",,d'
for field in (csv .. ","):gmatch('("[^"]*[^,]*"|[^,]*),') do print(field) end
for q, u in (csv .. ","):gmatch('"(.-)",()') do print(q, u) end
print((("%-"):rep(10) .. "end"):gsub("%%%-", "-"))
print(string.find("a\nb", "^b"), string.find("abc", "b", -1), string.find("", ""), string.find("abc", "", 10))
