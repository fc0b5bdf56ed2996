// The models that fal.ai lists (fal.ai/docs …/platform-apis/v1/models), with the
// schema of their input and their price, as known in November 2026: from a model's
// own page, fal.ai/models/<endpoint id>/llms.txt, and for what the pricing endpoint
// calls its unit price from users, where they have reported another.
import { checkKnown } from './fal-behaviour.mjs';

const PROMPT = { type: 'string', title: 'Prompt', minLength: 1 };
const SHORT_PROMPT = { ...PROMPT, maxLength: 2000 };
const OPTIMIZER = { type: 'boolean', title: 'Prompt Optimizer', default: true };
const IMAGE = { type: 'string', title: 'Image Url' };
const CFG_SCALE = { type: 'number', minimum: 0, maximum: 1, default: 0.5 };
const SOUND = { type: 'boolean', title: 'Generate Audio', default: true };
const oneOf = (values, usual) => ({ type: typeof values[0] === 'number' ? 'integer' : 'string', enum: values, default: usual });
const texts = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => String(from + n));

const flat = (dollars) => ({ unit: 'videos', unit_price: dollars });
const video01 = (name, extra = {}) => ({
  name, price: flat('0.5'), required: ['prompt', ...Object.keys(extra)],
  properties: { prompt: SHORT_PROMPT, ...extra, prompt_optimizer: OPTIMIZER },
});

// 6 s are one video, 10 s are two
const hailuo = (name, extra = {}) => ({
  name, required: ['prompt', ...Object.keys(extra)],
  price: { ...flat('0.28'), tiers: [{ applies: { duration: '10' }, unit_price: '0.56' }] },
  properties: { prompt: SHORT_PROMPT, ...extra, duration: oneOf(['6', '10'], '6'), prompt_optimizer: OPTIMIZER },
});
const hailuoPro = (name, extra = {}) => ({ ...video01(name, extra), price: flat('0.49') });

// The pricing endpoint says $0.14 a second, which is neither: a second without sound is 0.8 of it, one with sound 1.2.
const kling3 = (name, required, extra) => ({
  name, required,
  price: {
    unit: 'seconds', unit_price: '0.112', base_price: '0.14', quantity: { input: 'duration', default: 5 }, defaults: { generate_audio: true },
    tiers: [{ applies: { generate_audio: true }, unit_price: '0.168' }],
  },
  properties: {
    prompt: { ...PROMPT, nullable: true }, ...extra, duration: oneOf(texts(3, 15), '5'), generate_audio: SOUND,
    multi_prompt: { type: 'array', nullable: true, items: { $ref: '#/components/schemas/KlingV3MultiPromptElement' } },
    aspect_ratio: oneOf(['16:9', '9:16', '1:1'], '16:9'), negative_prompt: { type: 'string', maxLength: 2500, default: 'blur, distort, and low quality' },
    cfg_scale: CFG_SCALE,
  },
  schemas: {
    KlingV3MultiPromptElement: {
      type: 'object', title: 'KlingV3MultiPromptElement', required: ['prompt'], properties: { prompt: PROMPT, duration: oneOf(texts(1, 15), '5') },
    },
  },
});
const kling25 = (name, required, extra = {}) => ({
  name, required,
  price: { unit: 'seconds', unit_price: '0.07', quantity: { input: 'duration', default: 5 } },
  properties: { prompt: PROMPT, ...extra, duration: oneOf(['5', '10'], '5'), negative_prompt: { type: 'string' }, cfg_scale: CFG_SCALE },
});

const veo31 = {
  name: 'Veo 3.1', required: ['prompt'],
  price: {
    unit: 'seconds', unit_price: '0.2', quantity: { input: 'duration', default: 8 }, defaults: { generate_audio: true },
    tiers: [
      { applies: { generate_audio: true }, unit_price: '0.4' },
      { applies: { resolution: '4k' }, unit_price: '0.4' },
      { applies: { resolution: '4k', generate_audio: true }, unit_price: '0.6' },
    ],
  },
  properties: {
    prompt: PROMPT, aspect_ratio: oneOf(['16:9', '9:16'], '16:9'), duration: oneOf(['4s', '6s', '8s'], '8s'),
    resolution: oneOf(['720p', '1080p', '4k'], '720p'),
    generate_audio: SOUND, negative_prompt: { type: 'string', nullable: true }, seed: { type: 'integer', nullable: true },
    auto_fix: { type: 'boolean', default: true }, safety_tolerance: oneOf(texts(1, 6), '4'),
  },
};

// by the second of the film as made: of 3 s that were asked for, 3.008 have been billed
const ltx2 = {
  name: 'LTX Video 2.0 Fast', required: ['prompt'],
  price: {
    unit: 'seconds', unit_price: '0.04', quantity: 'delivered',
    tiers: [{ applies: { resolution: '1440p' }, unit_price: '0.08' }, { applies: { resolution: '2160p' }, unit_price: '0.16' }],
  },
  properties: {
    prompt: PROMPT, duration: oneOf([6, 8, 10, 12, 14, 16, 18, 20], 6), resolution: oneOf(['1080p', '1440p', '2160p'], '1080p'),
    fps: oneOf([25, 50], 25), generate_audio: SOUND,
  },
};

const MODELS = {
  'fal-ai/minimax/video-01': video01('MiniMax Video 01'),
  'fal-ai/minimax/video-01/image-to-video': video01('MiniMax Video 01', { image_url: IMAGE }),
  'fal-ai/minimax/video-01-director': video01('MiniMax Video 01 Director'),
  'fal-ai/minimax/video-01-director/image-to-video': video01('MiniMax Video 01 Director', { image_url: IMAGE }),
  'fal-ai/minimax/video-01-live': video01('MiniMax Video 01 Live'),
  'fal-ai/minimax/video-01-live/image-to-video': video01('MiniMax Video 01 Live', { image_url: IMAGE }),
  'fal-ai/minimax/video-01-subject-reference': video01('MiniMax Video 01 Subject Reference', { subject_reference_image_url: IMAGE }),
  'fal-ai/minimax/hailuo-2.3/standard/text-to-video': hailuo('MiniMax Hailuo 2.3 [Standard]'),
  'fal-ai/minimax/hailuo-2.3/standard/image-to-video': hailuo('MiniMax Hailuo 2.3 [Standard]', { image_url: IMAGE }),
  'fal-ai/minimax/hailuo-2.3/pro/text-to-video': hailuoPro('MiniMax Hailuo 2.3 [Pro]'),
  'fal-ai/minimax/hailuo-2.3/pro/image-to-video': hailuoPro('MiniMax Hailuo 2.3 [Pro]', { image_url: IMAGE }),
  'fal-ai/kling-video/v3/pro/text-to-video': kling3('Kling Video v3 Pro', [], {}),
  'fal-ai/kling-video/v3/pro/image-to-video': kling3('Kling Video v3 Pro', ['start_image_url'], { start_image_url: IMAGE, end_image_url: IMAGE }),
  'fal-ai/kling-video/v2.5-turbo/pro/text-to-video': kling25('Kling Video v2.5 Turbo Pro', ['prompt']),
  'fal-ai/kling-video/v2.5-turbo/pro/image-to-video': kling25('Kling Video v2.5 Turbo Pro', ['prompt', 'image_url'], { image_url: IMAGE }),
  'fal-ai/veo3.1': veo31,
  'fal-ai/ltx-2/text-to-video/fast': ltx2,
};

export const PRICES = Object.entries(MODELS).map(([endpoint, { price }]) => ({ endpoint, ...price }));

const FIELDS = ['endpoint', 'name', 'category', 'description', 'status', 'tags', 'required', 'properties', 'schemas', 'openapi'];
const DELISTED = [null, 'absent', 'bare', 'deprecated'];

export class Models {
  constructor() {
    this.reset();
  }

  reset() {
    this.byEndpoint = new Map(Object.entries(MODELS));
    this.delisted = new Map();
  }

  /** Another model, or what is different of one: fields as above; openapi replaces the whole document. */
  add({ endpoint, ...change }) {
    for (const name of Object.keys(change)) checkKnown('field', name, FIELDS);
    if (typeof endpoint !== 'string' || endpoint === '') throw new Error('endpoint is missing');
    this.byEndpoint.set(endpoint, { ...this.byEndpoint.get(endpoint), ...change });
  }

  /** as: "absent", "bare" (an id without metadata, if asked for by id), "deprecated", or null: listed again. */
  delist(endpoint, as) {
    checkKnown('value of as', as, DELISTED);
    this.delisted.set(endpoint, as);
  }

  isGone(endpoint) {
    return ['absent', 'bare'].includes(this.delisted.get(endpoint));
  }

  /** What the list shows of it; null if nothing. */
  describe(endpoint, withOpenapi) {
    if (this.delisted.get(endpoint) === 'absent') return null;
    if (this.delisted.get(endpoint) === 'bare') return { endpoint_id: endpoint };
    const model = this.byEndpoint.get(endpoint) ?? {};
    const shown = { endpoint_id: endpoint, metadata: this.#metadata(endpoint, model) };
    return withOpenapi ? { ...shown, openapi: model.openapi ?? openapiOf(endpoint, model) } : shown;
  }

  #metadata(endpoint, { name = endpoint, category = categoryOf(endpoint), description = `${name} by its makers.`, status = 'active', tags = [] }) {
    return {
      display_name: name, category, description, tags, model_url: `https://fal.run/${endpoint}`,
      status: this.delisted.get(endpoint) === 'deprecated' ? 'deprecated' : status,
    };
  }
}

function categoryOf(endpoint) {
  return /image-to-video|subject-reference/.test(endpoint) ? 'image-to-video' : 'text-to-video';
}

const reference = (name) => ({ $ref: `#/components/schemas/${name}` });
const NULLABLE_TEXT = { type: 'string', nullable: true };
const QUEUE_STATUS = {
  type: 'object', required: ['status', 'request_id'],
  properties: { status: { type: 'string', enum: ['IN_QUEUE', 'IN_PROGRESS', 'COMPLETED'] }, request_id: { type: 'string' } },
};
const FILE = {
  title: 'File', type: 'object', required: ['url'],
  properties: { url: { type: 'string' }, content_type: NULLABLE_TEXT, file_name: NULLABLE_TEXT, file_size: { type: 'integer', nullable: true } },
};

/** As fal.ai writes it: paths of the queue, and a schema named …Input. */
function openapiOf(endpoint, { properties = { prompt: PROMPT }, required = ['prompt'], schemas = {}, name = endpoint }) {
  const title = endpoint.split(/[^A-Za-z0-9]+/).map((word) => word[0]?.toUpperCase() + word.slice(1)).join('');
  const json = (what) => ({ 'application/json': { schema: reference(what) } });
  const answer = (what) => ({ 200: { description: 'ok', content: json(what) } });
  return {
    openapi: '3.0.4',
    info: {
      title: `Queue OpenAPI for ${endpoint}`, version: '1.0.0', description: name,
      'x-fal-metadata': { endpointId: endpoint, category: categoryOf(endpoint) },
    },
    components: {
      securitySchemes: { apiKeyAuth: { type: 'apiKey', in: 'header', name: 'Authorization' } },
      schemas: {
        QueueStatus: QUEUE_STATUS,
        [`${title}Input`]: {
          title: `${title}Input`, type: 'object', 'x-fal-order-properties': Object.keys(properties), properties, ...(required.length && { required }),
        },
        [`${title}Output`]: { title: `${title}Output`, type: 'object', properties: { video: reference('File') }, required: ['video'] },
        File: FILE,
        ...schemas,
      },
    },
    paths: {
      [`/${endpoint}`]: { post: { requestBody: { required: true, content: json(`${title}Input`) }, responses: answer('QueueStatus') } },
      [`/${endpoint}/requests/{request_id}`]: { get: { responses: answer(`${title}Output`) } },
    },
    servers: [{ url: 'https://queue.fal.run' }],
    security: [{ apiKeyAuth: [] }],
  };
}
