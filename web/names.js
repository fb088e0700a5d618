/** Our nodes: what the host calls them, and what people call them. */
export const NODE_NAMES = {
  WeShopUploadReference: "WeShop Upload Reference",
  WeShopSeedreamGenerate: "WeShop Seedream Generate",
  WeShopLoadResult: "WeShop Load Result",
};
