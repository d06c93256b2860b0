-- Longer computations, for the scheduler's timer to interrupt: sieve, n-queens, n-body, mandelbrot, strings.
local sieve, primes = {}, 0
for i = 2, 300000 do
  if not sieve[i] then primes = primes + 1 for j = i * i, 300000, i do sieve[j] = true end end
end
print(primes)
local function queens(n)
  local cols, d1, d2, found = {}, {}, {}, 0
  local function place(r)
    if r > n then found = found + 1 return end
    for c = 1, n do
      if not cols[c] and not d1[r + c] and not d2[r - c + n] then
        cols[c], d1[r + c], d2[r - c + n] = true, true, true
        place(r + 1)
        cols[c], d1[r + c], d2[r - c + n] = nil, nil, nil
      end
    end
  end
  place(1)
  return found
end
print(queens(8))
local bodies = { { 0, 0, 0, 0, 0, 0, 39.47 }, { 4.84, -1.16, -0.10, 0.606, 2.81, -0.02, 0.037 }, { 8.34, 4.12, -0.4, -1.01, 1.82, 0.008, 0.011 } }
for _ = 1, 20000 do
  for i = 1, #bodies do
    local a = bodies[i]
    for j = i + 1, #bodies do
      local b = bodies[j]
      local dx, dy, dz = a[1] - b[1], a[2] - b[2], a[3] - b[3]
      local d2 = dx * dx + dy * dy + dz * dz
      local mag = 0.001 / (d2 * d2 ^ 0.5)
      a[4], a[5], a[6] = a[4] - dx * b[7] * mag, a[5] - dy * b[7] * mag, a[6] - dz * b[7] * mag
      b[4], b[5], b[6] = b[4] + dx * a[7] * mag, b[5] + dy * a[7] * mag, b[6] + dz * a[7] * mag
    end
  end
  for _, b in ipairs(bodies) do b[1], b[2], b[3] = b[1] + 0.001 * b[4], b[2] + 0.001 * b[5], b[3] + 0.001 * b[6] end
end
for _, b in ipairs(bodies) do print(("%.9f %.9f %.9f"):format(b[1], b[2], b[3])) end
for y = -12, 12 do
  local row = {}
  for x = -39, 20 do
    local cr, ci, zr, zi, n = x / 20, y / 10, 0, 0, 0
    while n < 90 and zr * zr + zi * zi < 4 do zr, zi, n = zr * zr - zi * zi + cr, 2 * zr * zi + ci, n + 1 end
    row[#row + 1] = string.char(32 + n)
  end
  print(table.concat(row))
end
local freq = {}
local seed = 12345
for _ = 1, 200000 do
  seed = (seed * 1103515245 + 12345) & 0x7fffffff
  local k = string.char(97 + seed % 26, 97 + (seed >> 8) % 26)
  freq[k] = (freq[k] or 0) + 1
end
local keys = {}
for k in pairs(freq) do keys[#keys + 1] = k end
table.sort(keys, function(a, b) return freq[a] > freq[b] or freq[a] == freq[b] and a < b end)
print(#keys, keys[1], freq[keys[1]], keys[#keys], freq[keys[#keys]])
