-- Strings: building, formatting, conversion, comparison.
local t = {}
for i = 1, 200 do
  t[#t + 1] = ("%05d:%-6s|%+.3e|%x|%o|%c"):format(i, "s" .. i, i / 7, i * 31, i, 32 + i % 90)
end
print(#table.concat(t, "\n"))
print(t[1], t[200])
print(("%q"):format('a\n"b"\0c\r\\'))
print(("%q %q %q"):format(1 / 3, math.mininteger, 0.1))
print(("%s %d %5.2f %g %i"):format(true, 3.0, 2.71828, 1e20, -7))
print(("%10.4s|%-10s|%5s"):format("abcdefgh", "left", "right-too-long"))
print(pcall(string.format, "%d", 1.5))
print(pcall(string.format, "%y", 1))
print(("abc"):rep(3, "-"), ("x"):rep(0), ("x"):rep(-1) == "")
print(("hello"):byte(1, -1))
print(string.char(72, 105), ("Hello"):upper(), ("HeLLo"):lower(), ("abc"):reverse())
print(("hello"):sub(2, -2), ("hello"):sub(-3), ("hello"):sub(10) == "", #"\u{10FFFF}\x00\z
   end")
print("10" + 5, "0x10" * 2, 10 .. 20, tonumber("  12  "), tonumber("1e1"), tonumber("z", 36), tonumber("8", 8))
print(tonumber("0x1p4"), tonumber("1 2"), tonumber(""), tonumber("0x"), tonumber("9223372036854775808"))
print(math.tointeger("8"), math.tointeger(3.5), tostring(-0.0), tostring(1e15), tostring(1e100), 2^53)
local words = {}
for w in ("the quick brown fox jumps over the lazy dog"):gmatch("%a+") do words[#words + 1] = w end
table.sort(words)
print(table.concat(words, " "))
table.sort(words, function(a, b) if #a ~= #b then return #a > #b end return a > b end)
print(table.concat(words, " "))
for _, f in ipairs { "<i4", ">I2", "z", "s1", "<d", "<n", "!8 b xI8", "<i16" } do
  local v = f:find("z") and "zero" or f:find("s") and "short" or 100
  local p = f == "!8 b xI8" and string.pack("!8 b Xi8 I8", 1, 2) or string.pack(f, v)
  print(f, #p, (p:gsub(".", function(c) return ("%02x"):format(c:byte()) end)))
end
print(string.unpack("<i4 >i2 z", string.pack("<i4 >i2 z", -2, 513, "end")))
local big = ("0123456789"):rep(100000)
print(#big, big:sub(500000, 500010), big:find("890123", 999980, true), #big:gsub("5", "five"))
local h = 0
for i = 1, #big, 997 do h = (h * 31 + big:byte(i)) & 0xffffffff end
print(h)
