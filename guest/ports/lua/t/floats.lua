-- Floating point and integers: printing, rounding, limits, the maths library.
local nan, inf = 0 / 0, 1 / 0
print(inf, -inf, nan ~= nan, -0.0, 0.0 == -0.0, 1 / -0.0)
print(0.1, 0.1 + 0.2, 1 / 3, 100 / 3, 1e308 * 10, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308)
for _, x in ipairs { 0.1, 1 / 3, 123456.789, 1e-10, 2^70, -5.5e-7 } do
  print(("%.14g %.17g %a %e %f %.0f %g"):format(x, x, x, x, x, x, x))
end
print(7 // 2, -7 // 2, 7 // -2, 7 % 3, -7 % 3, 7 % -3, 7.5 // 2, -7.5 % 2, 5.3 % inf, -5.3 % inf)
print(pcall(function() return 1 // 0 end), pcall(function() return 1 % 0 end))
print(1 // 0.0, 1 % 0.0 ~= 1 % 0.0, 2^0.5, 8^(1 / 3), (-8)^(1 / 3) ~= (-8)^(1 / 3))
print(math.maxinteger + 1 == math.mininteger, math.mininteger // -1, math.maxinteger * 2)
print(math.maxinteger + 0.0, math.maxinteger + 0.0 == math.maxinteger, 2^53 == 2^53 + 1)
print(1 < 1.5, 1 == 1.0, math.type(1), math.type(1.0), math.type("1"), 3 | 0, pcall(function() return 3.5 | 0 end))
print(0xff, 0x7fffffffffffffff, 0xffffffffffffffff, 0x1p-2, 0xA.8p1)
print(1 << 63, 1 << 64, -1 >> 1, -1 >> 63, ~0, 5 & 3, 5 | 3, 5 ~ 3)
for _, f in ipairs { "sqrt", "sin", "cos", "tan", "exp", "log", "floor", "ceil", "abs" } do
  local out = { f }
  for _, x in ipairs { 0.5, 1, 2, 10, 100.25 } do out[#out + 1] = ("%.10g"):format(math[f](x)) end
  print(table.concat(out, " "))
end
print(("%.12g %.12g %.12g %.12g"):format(math.asin(0.5), math.acos(0.5), math.atan(1, 2), math.atan(-1, -2)))
print(("%.12g %.12g %.12g"):format(math.log(8, 2), math.log(1000, 10), math.log(5, 3)))
print(math.fmod(-7, 3), math.fmod(7, -3), math.fmod(5.5, 2), math.modf(3.7), math.modf(-3.7), math.modf(inf))
print(math.ult(1, -1), math.max(1, 2.5, -1), math.min(3, 2), math.floor(-3.5), math.ceil(-3.5), math.pi)
print(math.floor(1e100) == 1e100, math.tointeger(2^53), math.tointeger(2^63))
print(string.format("%.3f", 2.0005), string.format("%.0f", 0.5), string.format("%.0f", 1.5), string.format("%5.1f|", -0.05))
math.randomseed(42)
local a = { math.random(100), math.random(100), math.random(1000000) }
math.randomseed(42)
print(a[1] == math.random(100), a[2] == math.random(100), a[3] == math.random(1000000))
local s, c = 0.0, 0.0 -- Kahan's sum
for i = 1, 100000 do local y = 1 / i - c; local t = s + y; c = (t - s) - y; s = t end
print(("%.17g"):format(s))
local m = {}
for i = 1, 40 do m[i] = {} for j = 1, 40 do m[i][j] = math.sin(i * j) end end
local p = 0
for i = 1, 40 do for j = 1, 40 do local x = 0 for k = 1, 40 do x = x + m[i][k] * m[k][j] end p = p + x end end
print(("%.9g"):format(p))
for _, s in ipairs { "1e", "0x", "1..2", "1e+", "1_000", "inf", "nan", "0x.8", ".5", "5.", "1e400", "-1e-400" } do print(s, tonumber(s)) end
