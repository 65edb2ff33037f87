// The words of the page, in English and Traditional Chinese. What a server answers in sentences stays in English.
const WORDS = {
  skip: ["Skip to the content", "跳到主要內容"], tagline: ["the provably best vLLM deployment", "可證明最佳的 vLLM 部署"],
  language: ["Language", "語言"], dark: ["Dark", "深色"], ok: ["OK", "確定"], tokenAsked: ["This server asks for a token.", "此伺服器需要權杖。"],
  configure: ["Configure", "設定"], configureHint: ["one model: GPU, count, every flag", "一個模型:GPU、張數與每個旗標"],
  order: ["Order", "採購"], orderHint: ["all that is served: what to rent or buy", "所有服務:要租或買什麼"],
  place: ["Place", "配置"], placeHint: ["the GPUs you own: what runs where", "自有 GPU:什麼跑在哪裡"],
  lint: ["Check", "檢查"], lintHint: ["a vllm serve line you have", "檢查現有的 vllm serve 指令"],
  model: ["Model", "模型"], workload: ["Workload", "工作負載"], noWorkload: ["none", "無"], gpus: ["GPUs", "GPU"], anyGpu: ["Any GPU with a price; name some to restrict", "任何有價格的 GPU;可指定型號加以限制"],
  addGpu: ["Add a GPU", "加入 GPU"], mine: ["These are mine (how many of each)", "這些是自有的(各幾張)"], mostGpus: ["At most so many GPUs", "GPU 張數上限"], context: ["Context, tokens", "上下文長度(token)"],
  load: ["Load", "負載"], users: ["Users at once", "同時使用者"], rate: ["Requests per second (instead)", "每秒請求數(改用此項)"], input: ["Input tokens", "輸入 token"], output: ["Output tokens", "輸出 token"],
  limits: ["Limits", "限制"], ttftMax: ["TTFT at most, ms", "TTFT 上限(毫秒)"], tpotMax: ["TPOT at most, ms", "TPOT 上限(毫秒)"], budget: ["Budget, USD per hour", "預算(美元/小時)"], perUser: ["Tokens/s per user, at least", "每位使用者 token/s 下限"],
  more: ["More", "更多"], quality: ["Quality kept, at least", "品質保留下限"], weights: ["Weight format", "權重格式"], any: ["any", "不限"], release: ["vLLM release", "vLLM 版本"], newest: ["newest", "最新"], objective: ["What matters first", "首要目標"],
  o_cost: ["lowest cost", "最低成本"], o_throughput: ["highest throughput", "最高吞吐量"], o_latency: ["lowest latency", "最低延遲"], o_gpus: ["fewest GPUs", "最少 GPU"], o_efficiency: ["tokens per dollar", "每美元 token 數"], o_concurrency: ["most sequences", "最多序列"],
  alsoSet: ["Also set", "另外設定"], remove: ["Remove", "移除"], reset: ["Start again", "重新開始"], link: ["Copy a link to this", "複製此頁連結"], copied: ["Copied", "已複製"], copy: ["Copy", "複製"],
  thinking: ["Solving …", "求解中…"], asking: ["Asking …", "查詢中…"], optimal: ["proven optimal", "已證明最佳"], feasible: ["found, not proven optimal", "已找到,尚未證明最佳"], infeasible: ["no plan can meet this", "沒有方案能滿足要求"], unknown: ["no answer in the time given; this does not mean that nothing fits", "時限內沒有答案;這不代表無解"],
  perHour: ["per hour", "每小時"], noPrice: ["no price known", "無價格資料"], throughput: ["Output tokens/s", "輸出 token/s"], ttft: ["TTFT", "TTFT"], tpot: ["TPOT", "TPOT"], cost: ["Cost", "成本"], perMillion: ["per million output tokens", "每百萬輸出 token"], inputsPerS: ["Inputs/s", "輸入/s"], perMillionInputs: ["per million inputs", "每百萬輸入"], weightsKv: ["Weights / KV cache", "權重 / KV 快取"], kept: ["of the scores kept", "的分數保留"], fullSequences: ["Full contexts held", "可容納的完整上下文"],
  limit: ["limit", "上限"], limitsAndPredictions: ["Predictions against limits", "預測值與限制"], intervalNote: ["The bar is the model's uncertainty at the confidence asked.", "橫條為所要求信心水準下的模型不確定範圍。"],
  memory: ["Memory of each GPU", "每張 GPU 的記憶體"], m_weights: ["weights", "權重"], m_activation: ["activations", "激活"], m_other: ["non-torch and CUDA graphs", "非 torch 與 CUDA graph"], m_kv: ["KV cache", "KV 快取"], m_free: ["outside the budget", "預算之外"],
  command: ["Command", "指令"], startEach: ["Start {n} servers with this line, each on GPUs and a port of its own; the download starts them all.", "以此行啟動 {n} 個伺服器,各用自己的 GPU 與連接埠;下載的檔案會全部啟動。"],
  flags: ["Flags", "旗標"], downloads: ["Downloads", "下載"], d_zip: ["everything (zip)", "全部(zip)"],
  closeCalls: ["Close calls", "相近方案"], w_cheapest: ["cheapest", "最便宜"], w_fastest: ["fastest", "最快"], w_fewest_gpus: ["fewest GPUs", "最少 GPU"], w_better_weights: ["better weights", "較佳權重"], w_published_weights: ["published weights", "已發布權重"], w_owned: ["owned", "自有"],
  perSku: ["Best plan on each SKU", "各型號的最佳方案"], chosen: ["chosen", "已選"], count: ["GPUs", "張數"], format: ["Weights", "權重"], loadCurves: ["Over load", "隨負載變化"], throughputOverLoad: ["Throughput over load", "吞吐量隨負載"], ttftOverLoad: ["TTFT over load", "TTFT 隨負載"], tpotOverLoad: ["TPOT over load", "TPOT 隨負載"], memoryOverContext: ["Full contexts that fit, by length", "各長度可容納的完整上下文數"], sequences: ["sequences", "序列數"], tokens: ["tokens", "token"], front: ["Cost and throughput, best plan on each SKU", "成本與吞吐量:各型號最佳方案"], frontHint: ["The line joins what nothing else beats at its price; the ring is the plan above.", "線連接同價位下無可超越的方案;圓圈為上方所選方案。"], usdPerHour: ["USD per hour", "美元/小時"],
  binds: ["What binds", "關鍵限制"], notes: ["Notes", "備註"], assumed: ["Assumed, since not stated", "未說明而採用的預設"], whyNot: ["What cannot hold together", "互相衝突的條件"], wouldHelp: ["What would help: choose one", "可行的調整:選擇一項"], nothingHelps: ["No single change of one number makes it possible.", "沒有單一調整可使其可行。"],
  asTable: ["As a table", "以表格顯示"], proof: ["Proof", "證明"], value: ["Value", "值"], bound: ["Proven bound", "已證明界限"], searched: ["{n} layouts considered", "共考慮 {n} 種配置"],
  workloads: ["Workloads", "工作負載"], pasteHint: ["Rows copied from a spreadsheet can be pasted into any cell; a first row with these names is understood.", "可將試算表的列貼到任何儲存格;若首列為這些欄名會自動對應。"], addRow: ["Add a row", "新增一列"], name: ["Name", "名稱"], preset: ["Preset", "預設"], requests: ["Requests/s", "每秒請求"], contextShort: ["Context", "上下文"], peak: ["Peak factor", "尖峰倍數"], headroom: ["Headroom, %", "預留比例(%)"], spare: ["Spare replicas", "備援副本"], acquire: ["Acquire", "取得方式"], rent: ["rent", "租用"], buy: ["buy", "購買"], both: ["rent or buy", "租或買"], comparisons: ["Compare with other fleets (slower)", "與其他方案比較(較慢)"], solveOrder: ["Find the order", "求採購方案"],
  orderList: ["Order list", "採購清單"], item: ["Item", "項目"], provider: ["Provider", "供應商"], quantity: ["Nodes", "節點數"], monthly: ["USD/month", "美元/月"], year1: ["1 year", "1 年"], year3: ["3 years", "3 年"], capex: ["Purchase", "購置費"], priced: ["Price of", "價格日期"], source: ["source", "來源"], runs: ["What serves what", "服務配置"], used: ["Used", "使用率"], replicas: ["Replicas", "副本"], perMonth: ["per month", "每月"], compare: ["Other fleets", "其他方案"], most: ["at most", "最多"], capacity: ["Demand against capacity", "需求與容量"],
  nodes: ["Nodes", "節點"], services: ["Services", "服務"], perNode: ["GPUs each", "每台 GPU"], howMany: ["How many", "台數"], least: ["Replicas at least", "副本下限"], priority: ["Priority", "優先序"], solvePlace: ["Find the placement", "求配置"], noPlace: ["This installation has no placement solver.", "此安裝沒有配置求解功能。"], free: ["free", "可用"], unplaced: ["Not placed", "未配置"], moves: ["Moves", "搬移"], survive: ["Any one node may fail", "容許任一節點故障"],
  line: ["vllm serve line or shell script", "vllm serve 指令或 shell 腳本"], onGpu: ["On which GPU", "在哪種 GPU"], advice: ["Also what could be better at a price", "也列出需取捨的改進"], checkIt: ["Check it", "檢查"], findings: ["Findings", "結果"], noFindings: ["Nothing to report.", "沒有問題。"], fixed: ["With the fixes in", "修正後"], nothingFixed: ["There is nothing to fix by itself.", "沒有可自動修正之處。"], starts: ["vLLM starts", "vLLM 可啟動"], startsNot: ["vLLM does not start", "vLLM 無法啟動"], startsUnknown: ["whether it starts is not known", "無法判定是否可啟動"], found: ["{e} errors, {w} warnings, {n} notes", "{e} 個錯誤、{w} 個警告、{n} 個備註"],
};

let index = 0;

export function useLanguage(tag) { index = tag === "zh-Hant" ? 1 : 0; }
export const language = () => ["en", "zh-Hant"][index];

export function word(name, values = {}) {
  const pair = WORDS[name];
  if (!pair) return name;
  return pair[index].replace(/\{(\w+)\}/g, (_, each) => values[each]);
}

export const num = (value, options = {}) => (value === null || value === undefined ? "–" : new Intl.NumberFormat(language(), { maximumSignificantDigits: 4, ...options }).format(value));
export const whole = (value) => num(value, { maximumSignificantDigits: undefined, maximumFractionDigits: 0 });
export const usd = (value) => (value === null || value === undefined ? "–" : new Intl.NumberFormat(language(), { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", maximumFractionDigits: value < 1000 ? 2 : 0 }).format(value));
export const gib = (bytes) => `${num(bytes / 2 ** 30, { maximumSignificantDigits: 3 })} GiB`;
export const ms = (value) => (value === null || value === undefined ? "–" : value >= 10000 ? `${num(value / 1000, { maximumSignificantDigits: 3 })} s` : `${num(value, { maximumSignificantDigits: 3 })} ms`);
export const percent = (value) => num(value, { style: "percent", maximumSignificantDigits: undefined, maximumFractionDigits: 1 });
export const contextText = (value) => (value >= 1024 && value % 1024 === 0 ? `${value / 1024}K` : whole(value));
