-- Asks Torhaus about each request, as nginx's auth_request does. Runs in mod_lua; lua-sec speaks TLS.
local socket, ssl = require "socket", require "ssl"

-- The gate: where it is, the name in its certificate, and the authority that it is believed by.
local ADDRESS, PORT, NAME, CA = "torhaus.internal", 8443, "auth.example.test", "gate-ca.crt"
local FROM = "0.0.0.0" -- the address that `forward_auth.peers` lists, where this machine has several
local SECONDS = 10
-- What the gate has to see of a request, and what it says about a caller. The latter is taken away from clients.
local SEEN = { "Accept", "Authorization", "Cookie", "Origin", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "X-Requested-With" }
local TOLD = { "X-Forwarded-User", "X-Forwarded-Groups", "X-Torhaus-Assertion" }
local function normal(name) return (name:lower():gsub("[^a-z0-9]", "-")) end
local IS_TOLD = {}
for _, name in ipairs(TOLD) do IS_TOLD[normal(name)] = true end
-- The gate's own pages at this host are sent to it unasked.
local OWN = { ["/.torhaus/session"] = true, ["/.torhaus/logout"] = true, ["/.torhaus/whoami"] = true }

local function is_named(certificate)
  local names = (certificate:extensions()["2.5.29.17"] or {}).dNSName or {}
  local wildcard = "*" .. NAME:match("%..*$")
  for _, name in ipairs(names) do
    if name == NAME or name == wildcard then return true end
  end
  return false
end

local function connect()
  local tcp = assert(socket.tcp())
  tcp:settimeout(SECONDS)
  assert(tcp:bind(FROM, 0))
  assert(tcp:connect(ADDRESS, PORT))
  local tls = assert(ssl.wrap(tcp, { mode = "client", protocol = "any", options = "all", verify = "peer", cafile = CA }))
  tls:sni(NAME)
  tls:settimeout(SECONDS)
  assert(tls:dohandshake())
  -- LuaSec checks who signed the certificate, and not for whom.
  assert(is_named(tls:getpeercertificate()), "another host's certificate")
  return tls
end

local function ask(r)
  local lines = {
    "GET /.torhaus/verify HTTP/1.1", "Host: " .. NAME, "Connection: close",
    "X-Original-URL: https://" .. (r.headers_in["Host"] or "") .. r.unparsed_uri,
    "X-Original-Method: " .. r.method,
    "X-Forwarded-For: " .. r.useragent_ip,
  }
  for _, name in ipairs(SEEN) do
    local value = r.headers_in[name]
    if value then table.insert(lines, name .. ": " .. value) end
  end
  local tls = connect()
  assert(tls:send(table.concat(lines, "\r\n") .. "\r\n\r\n"))
  local status = tonumber(assert(tls:receive("*l")):match("^HTTP/1%.1 (%d%d%d)"))
  local answer = {}
  for line in function() return tls:receive("*l") end do
    if line == "" then break end
    local name, value = line:match("^([^:]+):%s*(.-)%s*$")
    if name and value ~= "" then answer[name:lower()] = value end
  end
  tls:close()
  return status, answer
end

function verify(r)
  if OWN[r.uri] then return apache2.DECLINED end
  local good, status, answer = pcall(ask, r)
  if not good then
    r:err("torhaus cannot be asked: " .. tostring(status))
    return 503
  end
  -- An application may read `X_Forwarded_User` for `X-Forwarded-User`: gone in every spelling.
  for name in pairs(r:headers_in_table()) do
    if IS_TOLD[normal(name)] then r.headers_in[name] = nil end
  end
  for _, name in ipairs(TOLD) do r.headers_in[name] = answer[name:lower()] end
  if status == 200 then
    -- The client's cookies without the session of the gate.
    r.headers_in["Cookie"] = answer["cookie"]
    return apache2.DECLINED
  end
  if status == 401 and answer["location"] then
    r.err_headers_out["Location"] = answer["location"]
    r.err_headers_out["Set-Cookie"] = answer["set-cookie"]
    r.err_headers_out["Cache-Control"] = "no-store"
    return 303
  end
  if status == 401 or status == 403 then return status end
  return 503
end
