-- Asks Torhaus about each request, as nginx's auth_request does. Runs in mod_lua; lua-curl does the asking.
local curl = require "cURL"

-- The gate, and the certificate authority that it is believed by.
local GATE = "https://auth.example.test:8443/.torhaus/verify"
local CA = "gate-ca.crt"
-- What the gate says about a caller; taken away from what the client says.
local TOLD = { "X-Forwarded-User", "X-Forwarded-Groups", "X-Torhaus-Assertion" }
-- What the gate has to see of a request.
local SEEN = { "Accept", "Authorization", "Cookie", "Origin", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "X-Requested-With" }
local OWN = { ["/.torhaus/session"] = true, ["/.torhaus/logout"] = true, ["/.torhaus/whoami"] = true }

local function ask(r)
  local headers = {
    "X-Original-URL: https://" .. r.headers_in["Host"] .. r.unparsed_uri,
    "X-Original-Method: " .. r.method,
    "X-Forwarded-For: " .. r.useragent_ip,
  }
  for _, name in ipairs(SEEN) do
    if r.headers_in[name] then table.insert(headers, name .. ": " .. r.headers_in[name]) end
  end
  local answer = {}
  local easy = curl.easy {
    url = GATE, cainfo = CA, httpheader = headers, timeout = 10,
    writefunction = function() return true end,
    headerfunction = function(line)
      local name, value = line:match("^([^:]+):%s*(.-)%s*$")
      if name then answer[name:lower()] = value end
      return true
    end,
  }
  local good = pcall(easy.perform, easy)
  local status = good and easy:getinfo_response_code() or 503
  easy:close()
  return status, answer
end

function verify(r)
  if OWN[r.uri] then return apache2.DECLINED end
  local status, answer = ask(r)
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
